"""VQ-Prompt: prompts from a quantised pool that trains end to end (NeurIPS 2024)."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Even, NotNegative, Positive
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, prefix_shape
from cl_prompts.prompts.quantised import QuantisedComponents, SoftKeys
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.strategies.plugins.head_alignment import HeadAlignment
from cl_prompts.training.rates import Schedule


class VQPrompt(PromptStrategy):
    """VQ-Prompt, vector quantization prompting (NeurIPS 2024). One class per image.

    Source: "Vector Quantization Prompting for Continual Learning", Jiao et al., arXiv 2410.20444.
    In each prompted block, M prompts P with keys K: ``alpha = softmax(q K' / temperature)`` with
    normalised rows of K and the query q (final-norm class token of the unprompted frozen ViT), not
    normalised; ``soft = sum_j alpha_j P_j``. An image gets the P_j nearest to soft, with the
    gradient of soft. Loss: cross-entropy over the task's classes, plus per block ``soft_weight
    MSE(soft, sg hard) + hard_weight MSE(hard, sg soft)``, where sg stops the gradient. At task ends
    the head is aligned with one Gaussian per class. All tasks train all prompts, and no task id is
    used.

    Defaults are the published ones for CIFAR-100, with 5 times the head's rate for prompts. The
    alignment's rate of 1e-5 changes the head little.

    Deviations: the cosine schedule is per epoch, without the published 80 first iterations at 1e-6;
    an epoch of the alignment has as many batches as seen classes, not as classes of earlier tasks.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vq = VQPrompt(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> tuple(vq.model.pools[0].values.shape)  # blocks, prompts, rows, width
        (5, 10, 8, 128)
    """

    # Published: AdamW at a tenth of the usual rate, and 4 * 128 draws a class.
    own_plugins = (
        HeadAlignment(epochs=10, lr=1e-5, samples=512, statistics="variance", optimizer="adamw"),
    )
    excluded = ("multi_label",)

    pool_size: Count = 10
    """Prompts M per block."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Even = 8
    """Rows of a prompt: the first half keys, the second half values."""
    temperature: Positive = 1.0
    """Temperature of alpha; at 1, queries of norm 30 make alpha nearly one-hot."""
    soft_weight: NotNegative = 0.4
    """Weight of the term that pulls the weighted sum to the selected prompt."""
    hard_weight: NotNegative = 0.1
    """Weight of the term that pulls the selected prompt to the weighted sum."""
    lr: Positive = 2.5e-3
    """Learning rate of the head."""
    # Published: five times the head's.
    prompt_lr: Positive | None = 1.25e-2
    train_mb_size: Count = 128
    train_epochs: Count = 20
    schedule: Schedule = "cosine"
    period: Count | None = 1000
    """Stream samples between two alignments where no boundary is announced; None for never."""

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build quantised prefixes; the head reads the class token."""
        shape = prefix_shape(backbone, self.prompted_blocks, self.prompt_length)
        blocks = len(self.prompted_blocks)
        keys = SoftKeys(blocks, self.pool_size, backbone.dim, temperature=self.temperature)
        weights = self.values_of("soft_weight", "hard_weight")
        pool = QuantisedComponents(self.pool_size, *shape, **weights)
        return PromptedViT(backbone, n_classes, selector=keys, pools=[pool])

"""Additive prompts: vectors added to the class token's keys and values (APT, ICCV 2025)."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Share
from cl_prompts.models.base import need_class_token
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.additive import AdditivePrompt
from cl_prompts.prompts.pools import Blocks, chosen_blocks
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.training.rates import Schedule


class AdditivePrompting(PromptStrategy):
    """APT, additive prompt tuning (ICCV 2025, arXiv 2503.07979).

    In every block one vector is added to the class token's key and one to its value, after the
    projection: no extra token, no query, 18,432 parameters on a ViT-B. The head reads normed
    features and has rows of unit length without bias. Evaluation uses a moving average of the
    prompts over announced tasks with decay ``beta``; training continues from the current prompts.
    If no boundary is announced, evaluation uses the current prompts as well. Loss: cross-entropy
    over the task's classes.

    Defaults are the published ones for CIFAR-100. Deviation: within a task, evaluation uses the
    average that the task would end with.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> additive = AdditivePrompting(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> tuple(additive.model.pools[0].values.shape)  # blocks, key/value, width
        (6, 2, 128)
    """

    excluded = ("query_block",)

    prompted_blocks: Blocks | None = None
    """Blocks with prompts, 0-based; None for all."""
    # After each task: merged <- beta merged + (1 - beta) current; the first task is copied.
    beta: Share = 0.7
    """Decay of the average of prompts; ImageNet-R: 0.8."""
    # z_c = LN(f) . W_c / |W_c|, with f not normalised, so that |z_c| is at most sqrt(dim).
    head: Head = Head(kind="unit_rows")
    lr: Positive = 4e-3
    """Learning rate; ImageNet-R: 3e-3."""
    train_mb_size: Count = 128
    train_epochs: Count = 30
    schedule: Schedule = "coda"

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the vectors, without a query; the head reads the class token."""
        need_class_token(backbone, "additive prompts act on")
        blocks = chosen_blocks(backbone, self.prompted_blocks)
        prompt = AdditivePrompt(blocks, backbone.dim, backbone.n_heads, beta=self.beta)
        return PromptedViT(backbone, n_classes, pools=[prompt])

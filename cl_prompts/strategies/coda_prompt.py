"""CODA-Prompt: prompts mixed from components that grow by task (CVPR 2023)."""

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Even, NotNegative, Positive
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import AttentionWeights, ComponentPool
from cl_prompts.prompts.pools import Blocks, prefix_shape
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.training.rates import Schedule


class CODAPrompt(PromptStrategy):
    """CODA-Prompt (Smith et al., CVPR 2023, arXiv 2211.13218).

    In each prompted block, M components P with keys K and attention vectors A form one prompt per
    image: ``w_j = cos(q o A_j, K_j)``, ``prompt = sum_j w_j P_j``. The query q is the final-norm
    class token of the unprompted frozen ViT, not normalised. The first half of a component's rows
    are keys of the prefix, the second half values. Each task has M / T components, initialised
    orthogonal to all earlier ones, which are frozen but still used. Nothing is selected, and no
    task id is used at test time. Loss: cross-entropy over the task's classes, plus ``mu`` times the
    orthogonality penalty of K, A and P.

    **Boundaries.** With announced boundaries (task-aware) ``n_tasks`` is required; recipes set it.
    On task-free streams it must be left out: all components train from the start.

    Defaults are the published script's: M = 100, length 8 (4 keys and 4 values), blocks 0 to 4,
    Adam 1e-3, batch 128, 20 epochs a task (ImageNet-R: 50), CODA's cosine schedule, a fresh
    optimizer for each task, no clipping, mu = 0.

    Deviations from the published code: two matrix products give the weights of components (exact,
    no (batch, M, dim) intermediate); new rows by QR are orthogonal to trained rows as well, which
    the published Gram-Schmidt sequence is not; the backbone has no gradients (published: 86 M
    gradients are computed and accumulated); frozen components do not require a gradient, so neither
    weight decay nor momentum moves them; the last short batch is not dropped.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> coda = CODAPrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> tuple(coda.model.pools[0].values().shape)  # blocks, components, rows * width
        (5, 100, 1024)
    """

    n_tasks: Count | None = None
    """Number of tasks that share the components; see above."""
    n_components: Count = 100
    """Number of components M; a remainder of M / n_tasks is not used."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Even = 8
    """Rows of a component: the first half keys, the second half values."""
    mu: NotNegative = 0.0
    """Weight of the penalty; 0.1 in the paper's first version (times 1e-6 in its code), 0 in the
    published scripts."""
    lr: Positive = 1e-3
    train_mb_size: Count = 128
    train_epochs: Count = 20
    schedule: Schedule = "coda"

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build prefixes as weighted sums of components; the head reads the class token."""
        shape = prefix_shape(backbone, self.prompted_blocks, self.prompt_length)
        size, n_tasks = self.n_components, self.n_tasks
        blocks = len(self.prompted_blocks)
        return PromptedViT(
            backbone,
            n_classes,
            selector=AttentionWeights(blocks, size, backbone.dim, n_tasks=n_tasks),
            pools=[ComponentPool(size, *shape, n_tasks=n_tasks)],
        )

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Return True: each task has as many components as the first one."""
        share = self.weights.key.rows[0].shape[1]
        dim = self.model.backbone.dim
        if share * n_tasks > dim:
            raise InputError(
                f"{share * n_tasks} components cannot be orthogonal: the ViT's width is {dim}"
            )
        return True

    @property
    def weights(self) -> AttentionWeights:
        """Keys and attention vectors."""
        return self.model.selector

    def check_announced(self, *, announced: bool) -> None:
        """Refuse announced tasks without ``n_tasks``, and ``n_tasks`` without announced tasks."""
        super().check_announced(announced=announced)
        tasks = self.weights.key.n_tasks
        if announced and tasks is None:
            raise InputError(
                "CODAPrompt divides its components among the announced tasks: give n_tasks, or"
                " boundaries=False to train all components from the start"
            )
        if tasks is not None and not announced:
            raise InputError(
                f"CODAPrompt has n_tasks={tasks}, but this stream announces no tasks: leave n_tasks"
                " out, or give boundaries=True"
            )

    def prompt_loss(self, output: Output) -> Tensor:
        """Add ``mu`` times the orthogonality penalty of keys, attention vectors and components."""
        pull = super().prompt_loss(output)
        if not self.mu:
            return pull
        # mu (O(K) + O(A) + O(P)), with O(X) = mean((X X' - I)^2) over the components so far.
        return pull + self.mu * (self.weights.penalty() + self.model.pools[0].penalty())

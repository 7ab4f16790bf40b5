"""S-Prompt++: an independent prefix per task, selected by key."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, prefix_shape
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.prompt import PoolStrategy, slots_for


class SPrompt(PoolStrategy):
    """S-Prompt++: S-Prompts (Wang et al., NeurIPS 2022, arXiv 2207.12819) for class-incremental
    streams, as compared in HiDe-Prompt (Wang et al., NeurIPS 2023, arXiv 2310.07234).

    Each task learns its own prefix in several blocks, independent of all others, and a key.
    Training uses that of the current task, a test image the one whose key is nearest to its query
    (final-norm class token of the unprompted frozen ViT). It is DualPrompt without the G-prompt.
    Loss: cross-entropy over the task's classes minus ``pull_weight * mean_b cos(q_b, K_t)``; the
    linear head reads the class token.

    If no boundary is announced, or if tasks exceed the pool, training selects by nearest key too.

    The blocks are HiDe's, the other settings our defaults of DualPrompt: the original protocol was
    not available.

    Deviations: S-Prompts select the prompt by the nearest of several k-means centroids of a task's
    queries and have one head per task; here each task has one learned key, and one head covers all
    classes.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> method = SPrompt(backbone=create_backbone(), n_classes=10, n_tasks=5, evaluator=None)
        >>> len(method.model.pools[0].values)  # one prompt a task
        5
    """

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    pool_size: Count | None = None
    """Prompts; None for one per task, or 10 if the number of tasks is unknown."""
    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 20
    """Keys and values of a prompt per block."""
    copy_previous: bool = False
    """Start a task's prompt as a copy of the previous one instead of at random."""
    # DualPrompt's: 0.03 * 24 / 256.
    lr: Positive = 0.0028125
    train_mb_size: Count = 24

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build one prefix per slot in all prompted blocks; the head reads the class token."""
        size = slots_for(self.pool_size, self.n_tasks)
        shape = prefix_shape(backbone, self.prompted_blocks, self.prompt_length)
        pool = PrefixPool(size, *shape, initial=self.initial, copy_slots=int(self.copy_previous))
        keys = TaskSlots(NearestKeys(size, backbone.dim, initial=self.initial))
        return PromptedViT(backbone, n_classes, selector=keys, pools=[pool])

"""DualPrompt: general and expert prefixes, one expert per task (ECCV 2022)."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, check_blocks
from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import TaskSlots
from cl_prompts.strategies.base.prompt import Batchwise, PoolStrategy, batchwise, slots_for


class DualPrompt(PoolStrategy):
    """DualPrompt (Wang et al., ECCV 2022, arXiv 2204.04799).

    Prompts are prefixes: n keys and n values that join the attention of a block after its
    projections. The G-prompt in early blocks is shared by all images and trained throughout. Each
    task has its own E-prompt in later blocks, with one key: training uses that of the current task,
    a test image the one whose key is nearest to its query (final-norm class token of the unprompted
    frozen ViT), so no task id is used. A new E-prompt starts as a copy of the previous one; its key
    does not. Loss: cross-entropy over the task's classes minus
    ``pull_weight * mean_b cos(q_b, K_t)``. The linear head reads the class token.

    If no boundary is announced, or if tasks exceed the pool, training selects by nearest key too.

    Defaults: the paper's lengths; the PyTorch port's settings for CIFAR-100: Adam at 0.03 * 24 /
    256 = 0.0028125, the rate in effect, batch 24, 5 epochs a task, a fresh optimizer for each,
    gradient norm at most 1. Published configurations differ in the E-prompt (CIFAR-100: 5 rows) and
    the rate (ImageNet-R: 0.005 * 24 / 256 = 0.00046875, 50 epochs).

    Deviations: the PyTorch ports permute prefixes, so that images get other images' prompts; here,
    as in the JAX code, each image gets its own. There is no batchwise prompt at test time (see
    ``batchwise_prompt``). Keys of later tasks do not compete at test time (see ``all_keys``). Test
    scores are over the seen classes.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> dual = DualPrompt(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> tuple(dual.model.pools[1].values.shape)  # prompts, blocks, key/value, rows, width
        (10, 3, 2, 20, 128)
    """

    n_tasks: Count | None = None
    """Number of tasks, if known."""
    pool_size: Count | None = None
    """E-prompts; None for one per task, or 10 if the number of tasks is unknown."""
    g_blocks: Blocks = (0, 1)
    """Blocks with the G-prompt, 0-based."""
    g_length: Count = 5
    """Keys and values of the G-prompt per block."""
    e_blocks: Blocks = (2, 3, 4)
    """Blocks with E-prompts."""
    e_length: Count = 20
    """Keys and values of an E-prompt per block."""
    batchwise_prompt: Batchwise = "off"
    """One E-prompt for all images of a batch, by majority vote: ``"off"``, in ``"training"``, or
    ``"always"``, as published for CIFAR-100. **"always" leaks the task at test time**: test batches
    hold one task each, so the vote reveals it, and predictions depend on the other samples of the
    batch. Do not compare such numbers with others."""
    all_keys: bool = False
    """Let untrained E-prompts compete at test time, as published."""
    lr: Positive = 0.0028125
    train_mb_size: Count = 24

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build shared G-prefixes and one E-prefix per slot; the head reads the class token."""
        check_blocks(backbone.depth, g_blocks=self.g_blocks, e_blocks=self.e_blocks)
        size = slots_for(self.pool_size, self.n_tasks)
        dim = backbone.dim
        heads = backbone.n_heads
        initial = self.initial
        # Training: the task's own slot. Tests: the nearest key of trained slots.
        slots = TaskSlots(NearestKeys(size, dim, initial=initial), all_rows=self.all_keys)
        return PromptedViT(
            backbone,
            n_classes,
            selector=batchwise(slots, self.batchwise_prompt),
            pools=[
                # The G-prompt has no key: it is always used, and trained in all tasks.
                SharedPrefix(self.g_blocks, self.g_length, dim, heads, initial=initial),
                PrefixPool(
                    size, self.e_blocks, self.e_length, dim, heads, initial=initial, copy_slots=1
                ),
            ],
        )

"""OnePrompt: one shared prefix without pool and query (ICLR 2024)."""

from typing import ClassVar

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.pools import Blocks, prefix_shape
from cl_prompts.prompts.prefixes import SharedPrefix
from cl_prompts.prompts.selectors import Distribution
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.training.rates import Schedule


class OnePrompt(PromptStrategy):
    """OnePrompt: one prefix for every image and task (ICLR 2024).

    Source: "OVOR: OnePrompt with Virtual Outlier Regularization", Huang et al., arXiv 2402.04129,
    without the outliers. One prefix per prompted block is trained throughout the stream; the linear
    head reads the class token. Without pool, keys and query a test image costs one pass instead of
    two. In the paper it matches CODA-Prompt, so it measures the gain of selection. Loss:
    cross-entropy over the task's classes.

    The paper's settings were not available: the schedule is CODA-Prompt's (Adam 1e-3, batch 128, 20
    epochs a task) and the length that of DualPrompt's E-prompt, so that methods differ in the pool
    alone.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> one = OnePrompt(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> one.model.selector is None
        True
    """

    excluded: ClassVar[tuple[str, ...]] = ("query_block",)

    prompted_blocks: Blocks = (0, 1, 2, 3, 4)
    """Blocks with prompts, 0-based."""
    prompt_length: Count = 20
    """Keys and values per block."""
    initial: Distribution = "uniform"
    """Distribution of the prefix: ``"uniform"``, ``"small"`` or ``"normal"``."""
    # Rate, batch, epochs and schedule are CODA-Prompt's.
    lr: Positive = 1e-3
    train_mb_size: Count = 128
    train_epochs: Count = 20
    schedule: Schedule = "coda"

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build one shared prefix per block, without a query; the head reads the class token."""
        shape = prefix_shape(backbone, self.prompted_blocks, self.prompt_length)
        prefix = SharedPrefix(*shape, initial=self.initial)
        return PromptedViT(backbone, n_classes, pools=[prefix])

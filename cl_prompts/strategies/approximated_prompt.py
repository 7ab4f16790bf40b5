"""Approximated prompts: a second attention over prompt rows, parallel to the frozen one (APT)."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.beside import BesidePrompts
from cl_prompts.prompts.pools import Blocks, chosen_blocks
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.training.rates import Schedule


class ApproximatedPrompt(PromptStrategy):
    """Approximated prompt tuning with one prompt for every image and task.

    Source: "Approximated Prompt Tuning for Vision-Language Pre-trained Models". Prompt tokens in an
    attention act as a second stream of information. Here that stream is computed in parallel to the
    frozen attention, with ReLU scores instead of a shared softmax, so it costs 1 % of a forward
    pass with 50 rows in every block (:class:`~cl_prompts.prompts.beside.BesidePrompts`). The head
    reads the class token. Loss: cross-entropy over the task's classes.

    Published for ViLT and METER, vision-language models, and never for continual learning: prompt
    blocks and head are this package's choice, and the schedule is CODA-Prompt's, as in
    :class:`~cl_prompts.strategies.one_prompt.OnePrompt`. The rate of the rows is the published
    one. Published with AdamW, betas 0.9 and 0.98 and weight decay 0.01, also on s; here with Adam,
    without decay.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> beside = ApproximatedPrompt(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> tuple(beside.model.pools[0].values.shape)  # entries, blocks, rows, width
        (1, 6, 50, 128)
    """

    excluded = ("query_block",)

    prompted_blocks: Blocks | None = None
    """Blocks with prompts, 0-based; None for all."""
    prompt_length: Count = 50
    """Rows per block."""
    rank: Count = 4
    """Rank of the map from rows to their keys."""
    # The rate of the rows is published; the head's rate and the schedule are CODA-Prompt's.
    lr: Positive = 1e-3
    prompt_lr: Positive | None = 5e-4
    """Learning rate of the rows, as published; None for that of the head. Scores are products of
    rows and keys, so greater rates can make features diverge."""
    train_mb_size: Count = 128
    train_epochs: Count = 20
    schedule: Schedule = "coda"

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        """Build the rows, without a query; the head reads the class token."""
        blocks = chosen_blocks(backbone, self.prompted_blocks)
        pool = BesidePrompts(blocks, self.prompt_length, backbone.dim, rank=self.rank)
        return PromptedViT(backbone, n_classes, pools=[pool])

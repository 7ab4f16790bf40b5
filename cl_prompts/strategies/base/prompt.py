"""What the prompt-pool strategies share: the class mask of the loss, the pull of keys to queries,
the start of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.base import Output
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.selectors import Selector
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt
from cl_prompts.strategies.base.online import OnlineStrategy

BATCHWISE = ("off", "training", "always")


class PromptStrategy(OnlineStrategy):
    """Base of the prompt pools: masked cross-entropy plus a term that trains keys.

    Loss of a mini-batch with queries q and selected keys k: ``CE - pull_weight * S``, with S the
    mean over images of the sum over selected keys of cos(q, k). Multi-label: binary cross-entropy
    over the annotated classes in the place of CE.

    Args:
        model: prompts on a frozen ViT.
        class_mask: as in the base, but ``"current"`` by default, as published.
        **common: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
    """

    model: PromptedViT
    pull_weight = 0.0

    def __init__(self, *, model: PromptedViT, class_mask: str = "current", **common: Any) -> None:
        if not self.pull_weight >= 0:
            raise InputError(f"pull_weight is {self.pull_weight}: it cannot be negative")
        super().__init__(model=model, class_mask=class_mask, **common)

    def start_task(self, classes: Tensor) -> None:
        """Slots move on, components grow."""
        # New rows are drawn from the run's seed and the task alone, so that a resumed run draws the
        # same ones.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(self.seed + 1_000_003 * self.tasks_started)
            start_task(self.model, self.tasks_started - 1)

    def training_loss(self) -> Tensor:
        """See the class."""
        assert self.output is not None
        return super().training_loss() + self.prompt_loss(self.output)

    def prompt_loss(self, output: Output) -> Tensor:
        """The terms that are the prompts' own."""
        if output.selection is None or not self.pull_weight:
            return output.logits.new_zeros(())
        return -self.pull_weight * output.selection.match

    def after_step(self) -> None:
        """Count which prompts were chosen."""
        if self.output is not None and self.output.selection is not None:
            cast(Selector, self.model.selector).observe(self.output.selection)


def heads_of(backbone: FrozenViT) -> int:
    """Attention heads of a block."""
    return int(backbone.vit.blocks[0].attn.num_heads)


def check_places(
    backbone: FrozenViT, blocks: dict[str, Sequence[int]], lengths: dict[str, int]
) -> None:
    """Raise ``InputError`` unless these arguments, by name, are places for prompts in this ViT."""
    for name, chosen in blocks.items():
        if not chosen:
            raise InputError(
                f"{name} is empty: name at least one block between 0 and {backbone.depth - 1}"
            )
        if wrong := [block for block in chosen if not 0 <= block < backbone.depth]:
            raise InputError(
                f"{name} holds block {wrong[0]}, but this ViT has blocks 0 to {backbone.depth - 1}"
            )
        if len(set(chosen)) < len(chosen):
            raise InputError(f"{name} is {list(chosen)}: a block is there twice")
    for name, length in lengths.items():
        if length < 1:
            raise InputError(f"{name} is {length}: it must be at least 1")


def with_batchwise_prompt(selector: nn.Module, size: int, batchwise_prompt: str) -> nn.Module:
    """The selector, or one that lets each batch vote (see
    :class:`~cl_prompts.prompts.task_selectors.BatchwisePrompt`)."""
    if batchwise_prompt not in BATCHWISE:
        raise unknown("batchwise_prompt", batchwise_prompt, BATCHWISE)
    if batchwise_prompt == "off":
        return selector
    return BatchwisePrompt(
        cast(Selector, selector), size, in_evaluation=batchwise_prompt == "always"
    )


def slots_for(pool_size: int | None, n_tasks: int | None) -> int:
    """Entries of a pool with one slot a task; 10 where neither is given."""
    size = (n_tasks or 10) if pool_size is None else pool_size
    if size < 1:
        raise InputError(f"pool_size is {size}: it must be at least 1")
    return size

"""Arguments of Avalanche's strategies that those of this package do not take, with what to give
instead."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel

#: arguments of Avalanche's strategies -> what to do instead
INSTEAD = {
    "criterion": "leave it out, since each method has its own loss (override training_loss for"
    " another)",
    "mem_size": "give buffer_size, the samples in the replay buffer",
    "batch_size_mem": "give buffer_batch_size, the replayed samples of a batch",
    "peval_mode": "leave it out, and use AnytimeEvaluation to evaluate by samples",
    "task_balanced_dataloader": "leave it out, since task labels are not used",
}


def refuse_foreign_arguments(learner: str, positional: Sequence[Any], names: Iterable[str]) -> None:
    """Refuse a construction in Avalanche's manner, ``Strategy(model, optimizer, criterion)``.

    >>> refuse_foreign_arguments("MVP", (), ["lr", "criterion"])
    Traceback (most recent call last):
    cl_prompts.errors.InputError: MVP takes no criterion=: leave it out, since each method has its \
own loss (override training_loss for another)

    Args:
        learner: name of the strategy.
        positional: arguments that were given by position.
        names: of those that were given by name.

    Raises:
        InputError: the first of them that the package does not take.
    """
    if positional:
        raise InputError(
            f"{learner} takes its settings by name: give backbone= and n_classes=, and optimizer="
            " if Adam with lr= will not do; it has its own loss"
        )
    for name in names:
        if name in INSTEAD:
            raise InputError(f"{learner} takes no {name}=: {INSTEAD[name]}")


def check_model(learner: str, model: Any) -> None:
    """Refuse a model that is not one of this package's, such as a network for Avalanche's Naive.

    Raises:
        InputError: another kind of model.
    """
    if not isinstance(model, ContinualModel):
        raise InputError(
            f"model= is a {type(model).__name__}: {learner} trains the models of cl_prompts.models"
            " on a frozen ViT, so give backbone= and n_classes= instead"
        )

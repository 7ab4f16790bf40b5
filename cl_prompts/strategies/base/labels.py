"""Labels and annotated classes of an experience, checked against the model."""

from __future__ import annotations

from typing import Any

import torch
from avalanche.benchmarks.scenarios.online import OnlineCLExperience
from torch import Tensor

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.experience import whole_of


def check_labels(experience: Any, model: ContinualModel, learner: str) -> None:
    """Check that an experience's labels are of the model's kind and have head rows.

    Raises:
        InputError: multi-hot targets for a single-label model or the other way round, a class
            beyond the head, or a multi-label mixture of tasks.
    """
    targets = experience.dataset.targets
    if not len(targets):
        return
    first = _as_tensor(targets[0], targets[0])
    width = first.numel() if first.dim() else 0
    if model.multi_label:
        if width != model.n_classes:
            given = f"multi-hot targets of {width} classes" if width else "one class per image"
            raise InputError(
                f"this multi-label {learner} needs multi-hot targets of {model.n_classes} classes:"
                f" {given} were given"
            )
        if isinstance(whole_of(experience), OnlineCLExperience):
            raise InputError(
                "this mini-experience mixes tasks and does not say which classes are annotated, so"
                " that zeros in its targets mean nothing: cut tasks with split_online_stream"
            )
        return
    if width:
        raise InputError(
            f"{learner} learns one label per image: targets of shape {(width,)} were given;"
            " multi_label=True, where the strategy has it, learns several"
        )
    labels = _as_tensor(list(targets), targets[0])
    if not 0 <= int(labels.min()) <= int(labels.max()) < model.n_classes:
        wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
        raise InputError(
            f"label {wrong} occurs, but n_classes is {model.n_classes}: labels are 0 to"
            " n_classes - 1"
        )


def check_class_ids(experience: Any, model: ContinualModel, task_labels: set[int]) -> None:
    """Refuse classes that count from zero again under another task label: one number would stand
    for several classes.

    Args:
        experience: with or without ``task_label``.
        model: that has observed the classes of earlier experiences.
        task_labels: of the experiences trained on before; that of this one is added.

    Raises:
        InputError: a new task label without a new class.
    """
    label = getattr(experience, "task_labels", None) or [0]
    new = not task_labels.issuperset(label)
    if new and task_labels and not model.multi_label:
        classes = [int(c) for c in set(experience.dataset.targets)]
        if classes and bool(model.seen[classes].all()):
            raise InputError(
                f"task label {label[0]} brings no class that was not seen under another one: if"
                " class ids count from zero in each task, number them through"
                " (class_ids_from_zero_in_each_exp=False); if these are the same classes in another"
                " domain, leave task labels out"
            )
    task_labels.update(label)


def _as_tensor(values: Any, example: Any) -> Tensor:
    """Values as a tensor, unless they are no numbers."""
    try:
        return torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"targets are {type(example).__name__}s such as {shown(example)}: give the integers 0"
            " to n_classes - 1"
        ) from error


def classes_of(experience: Any, n_classes: int) -> Tensor:
    """(classes,) boolean: the classes that are annotated in this experience; all, unless it
    declares them."""
    classes = getattr(whole_of(experience), "classes_in_this_experience", None)
    if classes is None:
        return torch.ones(n_classes, dtype=torch.bool)
    mask = torch.zeros(n_classes, dtype=torch.bool)
    mask[[int(c) for c in classes]] = True
    return mask

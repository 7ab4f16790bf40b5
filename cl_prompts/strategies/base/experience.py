"""Experiences of a stream: their labels and annotated classes, and tasks in pieces.

Avalanche's ``split_online_stream`` cuts an experience into mini-experiences.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks.scenarios.online import OnlineCLExperience
from torch import Tensor

from cl_prompts.backbones.pixels import check_targets
from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel


def whole_of(experience: Any) -> Any:
    """The experience that a mini-experience was cut from, which has attributes that it lacks; any
    other experience itself.

    A mini-experience of a stream that mixes experiences is returned itself.
    """
    with _unmasked(experience):
        return getattr(experience, "origin_experience", None) or experience


def mark_of(experience: Any, name: str, default: bool) -> bool:
    """Mark of an experience on its stream (``ordered``, ``boundaries``); the default if none.

    An experience that Avalanche made of a part of ours, as ``benchmark_with_validation_stream``
    does, says it through its data set.
    """
    # The experience itself first, then the data set that Avalanche has carried it in.
    said = getattr(whole_of(experience), name, None)
    if said is None:
        carried = getattr(getattr(experience, "dataset", None), f"stream_{name}", None)
        # An attribute of a data set is one value a sample, and here the same for all.
        said = carried[0] if carried is not None and len(carried) else default
    return bool(said)


def announces_boundaries(experience: Any, given: bool | None = None) -> bool:
    """Whether the start of an experience tells a method of a new task: as ``given``, or as the
    experience announces.

    Experiences declare it by ``boundaries``, Avalanche's mini-experiences by
    ``access_task_boundaries``; those of other benchmarks, without either, announce theirs.
    """
    if given is not None:
        return given
    hidden = not getattr(experience, "access_task_boundaries", True)
    return not hidden and mark_of(experience, "boundaries", True)


def domains_of(experience: Any) -> tuple[set[str], set[str]] | None:
    """Domains of an experience's samples, and those that its whole stream trains on, by name; None
    where the stream has no domains.

    Data that do not name their stream's domains stand for themselves: both are their own.
    """
    data = getattr(experience, "dataset", None)
    carried = getattr(data, "domains", None)
    if carried is None:
        return None
    own = set(carried.uniques)
    of_stream: Any = getattr(data, "stream_domains", ())
    return own, set(of_stream[0]) if len(of_stream) else own


class TaskPosition:
    """Position of an experience in its task: first, last, or within.

    Avalanche's ``is_last_subexp`` stays False where the size of mini-experiences divides their task
    (avalanche-lib 0.6), so samples are counted as well.

    Attributes:
        first: the current experience is the first of its task.
        last: the current experience is the last of its task.
        samples: of the task up to the end of the current experience.

    Example:
        >>> from types import SimpleNamespace
        >>> position = TaskPosition()
        >>> position.enter(SimpleNamespace(dataset=range(100)))  # a whole task
        >>> position.first, position.last, position.samples
        (True, True, 100)
    """

    def __init__(self) -> None:
        self.first = True
        self.last = True
        self.samples = 0

    def enter(self, experience: Any, *, again: bool = False) -> None:
        """Update the position at the start of training on an experience.

        Args:
            again: it was entered before, and training resumes inside it.
        """
        with _unmasked(experience):
            self.first = bool(getattr(experience, "is_first_subexp", True))
            self.last = bool(getattr(experience, "is_last_subexp", True))
        if not again:
            # A resumed experience was counted before.
            self.samples = (0 if self.first else self.samples) + len(experience.dataset)
        whole = whole_of(experience)
        self.last = self.last or (whole is not experience and self.samples >= len(whole.dataset))


def _unmasked(experience: Any) -> AbstractContextManager[Any]:
    """Show the attributes that Avalanche hides in training; :func:`announces_boundaries`
    decides whether a method knows of boundaries."""
    return (
        experience.no_attribute_masking()
        if hasattr(experience, "no_attribute_masking")
        else nullcontext()
    )


def check_labels(experience: Any, model: ContinualModel, learner: str) -> None:
    """Check that an experience's labels are of the model's kind and have head rows.

    Args:
        experience: with labels.
        model: that has the head.
        learner: its name, for the sentence.

    Raises:
        InputError: multi-hot targets for a single-label model or the other way round, a class
            beyond the head, or a multi-label mixture of tasks.
    """
    targets = experience.dataset.targets
    if not len(targets):
        return
    shape = np.shape(targets[0])
    if shape != ((model.n_classes,) if model.multi_label else ()):
        needs = "learns one label per image"
        hint = "; multi_label=True, where the strategy has it, learns several"
        if model.multi_label:
            needs, hint = f"needs rows of {model.n_classes} zeros and ones", ""
        raise InputError(f"{learner} {needs}: targets of shape {shape} were given{hint}")
    if not model.multi_label:
        labels = _as_tensor(list(targets), targets[0])
        check_targets(labels, model.n_classes, multi_label=False)
    elif getattr(targets, "annotated", targets) is None or isinstance(
        whole_of(experience), OnlineCLExperience
    ):
        raise InputError(
            "this experience mixes tasks and does not say which classes are annotated, so that"
            " zeros in its targets mean nothing: cut tasks with split_online_stream"
        )


def highest_class(experiences: Iterable[Any]) -> int:
    """The highest class that some experiences name, by their labels or, of a piece of a task, by
    those of the whole; -1 where they have none."""
    highest = -1
    for experience in experiences:
        declared = getattr(whole_of(experience), "classes_in_this_experience", None) or ()
        highest = max([highest, *map(int, declared)])
        targets = experience.dataset.targets
        if len(targets):
            first = _as_tensor(targets[0], targets[0])
            # Multi-hot targets have a column for each class, whether it occurs or not.
            last = first.numel() - 1 if first.dim() else int(_as_tensor(list(targets), first).max())
            highest = max(highest, last)
    return highest


def _as_tensor(values: Any, example: Any) -> Tensor:
    """Values as a tensor, unless they are no numbers; integers as int64, since others cannot be
    compared."""
    try:
        found = torch.as_tensor(values)
        return found if found.is_floating_point() else found.long()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"targets are {type(example).__name__}s such as {shown(example)}: give the integers 0"
            " to n_classes - 1"
        ) from error


def classes_of(experience: Any, n_classes: int) -> Tensor:
    """(classes,) boolean: the classes that are annotated in this experience: those that it
    declares, or otherwise those of its labels; all where it declares none and an image can have
    several labels, or it has no image."""
    whole = whole_of(experience)
    targets: Any = getattr(getattr(whole, "dataset", None), "targets", ())
    # What Avalanche declares of a part of a task are the classes that an image of it has.
    annotated = getattr(targets, "annotated", None)
    if annotated is not None:
        return F.pad(torch.from_numpy(annotated.copy()), (0, n_classes - len(annotated)))
    classes = getattr(whole, "classes_in_this_experience", None)
    if classes is None:
        if not len(targets) or np.ndim(targets[0]):
            return torch.ones(n_classes, dtype=torch.bool)
        classes = set(targets)
    mask = torch.zeros(n_classes, dtype=torch.bool)
    # Labels beyond the head are refused elsewhere, or count as wrong.
    mask[[int(c) for c in classes if int(c) < n_classes]] = True
    return mask

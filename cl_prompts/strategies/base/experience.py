"""Tasks in pieces: mini-experiences, into which Avalanche's ``split_online_stream`` cuts an
experience."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from itertools import pairwise
from typing import Any

from cl_prompts.errors import InputError


def whole_of(experience: Any) -> Any:
    """The experience that a mini-experience was cut from, which has attributes that it lacks; any
    other experience itself.

    A mini-experience of a stream that mixes experiences is returned itself.
    """
    with _unmasked(experience):
        return getattr(experience, "origin_experience", None) or experience


def mark_of(experience: Any, name: str, default: bool) -> bool:
    """What an experience says of its stream (``ordered``, ``boundaries``); the default if nothing.

    An experience that Avalanche made of a part of ours, as ``benchmark_with_validation_stream``
    does, says it through its data set.
    """
    said = getattr(whole_of(experience), name, None)
    if said is None:
        carried = getattr(getattr(experience, "dataset", None), f"stream_{name}", None)
        said = carried[0] if carried is not None and len(carried) else default
    return bool(said)


def check_order(experience: Any) -> None:
    """Refuse a part of an ordered experience whose samples were shuffled when it was made.

    Raises:
        InputError: the samples do not follow the order of their scenario.
    """
    positions = getattr(getattr(experience, "dataset", None), "stream_position", None)
    # A whole experience of ours, which has indices, is in order.
    if positions is None or hasattr(experience, "indices"):
        return
    if not mark_of(experience, "ordered", False):
        return
    given = list(positions)
    if any(later <= earlier for earlier, later in pairwise(given)):
        raise InputError(
            "the samples of this experience are not in the order of their scenario: make it with"
            " shuffle=False (benchmark_with_validation_stream, split_online_stream), or by a"
            " split_strategy that takes subsets in ascending order"
        )


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
            experience: which one.
            again: it was entered before, and training resumes inside it.
        """
        with _unmasked(experience):
            self.first = bool(getattr(experience, "is_first_subexp", True))
            self.last = bool(getattr(experience, "is_last_subexp", True))
        if not again:
            self.samples = (0 if self.first else self.samples) + len(experience.dataset)
        whole = whole_of(experience)
        self.last = self.last or (whole is not experience and self.samples >= len(whole.dataset))


def _unmasked(experience: Any) -> AbstractContextManager[Any]:
    """Show the attributes that Avalanche hides in training; ``OnlineStrategy.announced`` decides
    whether a method knows of boundaries."""
    return (
        experience.no_attribute_masking()
        if hasattr(experience, "no_attribute_masking")
        else nullcontext()
    )

"""Tasks in pieces: mini-experiences, into which Avalanche's ``split_online_stream`` cuts an
experience."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def whole_of(experience: Any) -> Any:
    """The experience that a mini-experience was cut from, which has attributes that it lacks; any
    other experience itself.

    A mini-experience of a stream that mixes experiences is returned itself.
    """
    with _unmasked(experience):
        return getattr(experience, "origin_experience", None) or experience


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

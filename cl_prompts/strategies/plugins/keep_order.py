"""A plugin for Avalanche's own strategies that refuses to shuffle an ordered stream."""

from __future__ import annotations

from typing import Any

from avalanche.core import BaseSGDPlugin

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.experience import mark_of


class KeepOrder(BaseSGDPlugin):
    """Refusal of training that shuffles a stream whose order is part of its scenario.

    Avalanche's strategies shuffle unless told not to, and nothing would tell: the blurry stream
    becomes another one. The strategies of this package keep the order by themselves; with the
    plugin they refuse ``shuffle=True`` too.

    Raises:
        InputError: in training, an ordered experience that is shuffled, or was when it was made.

    Example:
        >>> from types import SimpleNamespace
        >>> blurry = SimpleNamespace(experience=SimpleNamespace(ordered=True, dataset=[]))
        >>> KeepOrder().before_training_exp(blurry, shuffle=False)
        >>> KeepOrder().before_training_exp(blurry)
        Traceback (most recent call last):
        cl_prompts.errors.InputError: the order of this stream is part of its scenario: train with \
strategy.train(experience, shuffle=False)
    """

    def before_training_exp(self, strategy: Any, *, shuffle: bool = True, **kwargs: Any) -> None:
        """Look at what ``strategy.train`` was given, before the first batch."""
        experience = strategy.experience
        if shuffle and mark_of(experience, "ordered", False):
            raise InputError(
                "the order of this stream is part of its scenario: train with"
                " strategy.train(experience, shuffle=False)"
            )

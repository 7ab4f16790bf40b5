"""Plugin for Avalanche's strategies that refuses to shuffle an ordered stream."""

from avalanche.core import BaseSGDPlugin
from avalanche.training.templates import SupervisedTemplate

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.experience import mark_of


class KeepOrder(BaseSGDPlugin):
    """Refusal to shuffle a stream whose order is part of its scenario.

    Avalanche's strategies shuffle by default, which silently makes another stream of a blurry one.
    :class:`AnytimeEvaluation` refuses it, too. ``experience.ordered = False`` allows it.

    Raises:
        InputError: training shuffles an ordered experience.

    Example:
        >>> from types import SimpleNamespace
        >>> blurry = SimpleNamespace(experience=SimpleNamespace(ordered=True, dataset=[]))
        >>> KeepOrder().before_training_exp(blurry, shuffle=False)
        >>> KeepOrder().before_training_exp(blurry)
        Traceback (most recent call last):
        cl_prompts.errors.InputError: the order of this stream is part of its scenario: train with \
strategy.train(experience, shuffle=False), or set experience.ordered = False
    """

    def before_training_exp(
        self, strategy: SupervisedTemplate, *, shuffle: bool = True, **kwargs: object
    ) -> None:
        """Check the ``shuffle`` argument of ``strategy.train``."""
        experience = strategy.experience
        if shuffle and mark_of(experience, "ordered", False):
            raise InputError(
                "the order of this stream is part of its scenario: train with"
                " strategy.train(experience, shuffle=False), or set experience.ordered = False"
            )

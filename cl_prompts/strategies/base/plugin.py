"""Base of the plugins that a method may be given as options."""

from __future__ import annotations

from typing import Any, ClassVar

from avalanche.core import BaseSGDPlugin

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.settings import Settings
from cl_prompts.strategies.base.state import Registered


class StrategyPlugin(Settings, BaseSGDPlugin):
    """An option of a method that acts during training, as an Avalanche plugin with settings.

    Besides Avalanche's events a plugin of any kind may have these, each called with the strategy:

    * ``attach``: once, while the strategy is made: its model exists, its optimizer does not;
    * ``check_announced``: a stream is about to be trained on, or was named in a recipe;
      ``announced=`` says whether it announces the boundaries of its tasks;
    * ``start_of_task``: an announced task starts;
    * ``start_of_stream_batch``: classes of a new stream batch (``strategy.batch``) were observed;
    * ``end_of_stream_batch``: the last update on it was made and it was counted; ``samples=`` is
      its size;
    * ``end_of_task``: an announced task, or a period where none is announced, is over;
    * ``start_of_period``: the next period begins.

    Where training resumes, the events that begin an experience or an epoch fire again, with
    ``strategy.place`` set. During an update ``strategy.batch`` is the mini-batch and
    ``strategy.output`` what the model made of it; a term of loss is added to ``strategy.loss`` in
    ``before_backward``.

    State is registered by ``self.state.add("name of the attribute")`` and is part of checkpoints,
    as is that of any plugin with ``state_dict`` and ``load_state_dict``. Of each tensor with one
    entry a class, ``class_axes`` names the axis (:mod:`cl_prompts.models.growth`).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.checks import NotNegative
        >>> from cl_prompts.strategies import OnePrompt
        >>> class SmallLogits(StrategyPlugin):
        ...     weight: NotNegative = 0.1
        ...     '''Weight of the mean squared logit.'''
        ...     def before_backward(self, strategy, **kwargs):
        ...         strategy.loss = strategy.loss + self.weight * strategy.mb_output.square().mean()
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, plugins=[SmallLogits(weight=0.5)], device="cpu")
        >>> one.plugin(SmallLogits).weight
        0.5
    """

    needs: ClassVar[str] = ""
    """Setting of the methods that the plugin is for, such as ``"head"``: given to all strategies of
    a recipe, it goes to those that have the setting, if there are any."""
    one_label: ClassVar[str] = ""
    """Why the plugin is for one class per image; empty where it is for several, too."""

    def __init__(self, **settings: Any) -> None:
        BaseSGDPlugin.__init__(self)
        self.assign(settings)
        self.state = Registered(self)
        """The plugin's registered state."""

    def attach(self, strategy: Any) -> None:
        """Prepare for a strategy whose model was built and whose optimizer was not.

        Raises:
            InputError: the strategy lacks what the plugin needs.
        """

    def check_head(self, strategy: Any) -> None:
        """Refuse a strategy that trains no head over all classes.

        Raises:
            InputError: prototypes, heads of tasks, or a mixture of heads.
        """
        if "head" not in strategy.settings() or not isinstance(strategy.model, PromptedViT):
            raise self.refusal(
                f"needs a trained head over all classes, and {type(strategy).__name__} has none"
            )
        if self.one_label and strategy.model.multi_label:
            raise self.refusal(self.one_label)

    def check_stream_samples(self, strategy: Any) -> None:
        """Refuse a strategy that trains on replayed samples alone.

        Raises:
            InputError: its batches hold no sample of the stream.
        """
        if strategy.remember_first:
            raise self.refusal(
                f"takes statistics of the stream's samples, and {type(strategy).__name__} trains on"
                " replayed ones alone"
            )

    def refusal(self, why: str, what_instead: str = "leave it out") -> InputError:
        """The error to raise for a strategy that the plugin does not suit."""
        return InputError(f"{type(self).__name__} {why}: {what_instead}")

    def state_dict(self) -> dict[str, Any]:
        """The registered state, as tensors and plain values."""
        return self.state.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.state.load_state_dict(state)

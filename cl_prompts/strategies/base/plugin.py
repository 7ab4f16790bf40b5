"""Base of the plugins that are options of a method."""

from typing import ClassVar

from avalanche.core import BaseSGDPlugin

from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.state import Registered, State
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.settings import Settings


class StrategyPlugin(Settings, BaseSGDPlugin):
    """Option of a method that acts during training: an Avalanche plugin with settings.

    Besides Avalanche's events, any plugin may have these, each called with the strategy:

    * ``attach``: at construction, after the model and before the optimizer;
    * ``check_announced``: before training, and for the stream of a recipe; ``announced=`` says
      whether the stream announces task boundaries;
    * ``start_of_task``: at the start of an announced task;
    * ``arrival_of_stream_batch``: before its classes are observed; ``stream=`` is a
      :class:`~cl_prompts.strategies.base.stream.StreamBatch`, ``skipped=`` whether a ``Budget``
      leaves it out;
    * ``start_of_stream_batch``: after the classes of a stream batch (``strategy.batch``) were
      observed;
    * ``end_of_stream_batch``: after the last update on it, when it is counted; ``samples=`` is its
      size;
    * ``end_of_skipped_batch``: after a stream batch that a ``Budget`` did not train;
    * ``end_of_task``: at the end of an announced task, or of a period where none is announced;
    * ``start_of_period``: at the start of the next period.

    When training resumes, the events at the start of an experience and epoch fire again, with
    ``strategy.loop.place`` set. During an update ``strategy.batch`` is the mini-batch and
    ``strategy.output`` the model's output on it. A loss term is added to ``strategy.loss`` in
    ``before_backward``.

    Register state by ``self.state.add("name of the attribute")``: checkpoints contain it, as that
    of any plugin with ``state_dict`` and ``load_state_dict``. For each tensor with one entry per
    class, ``class_axes`` names the axis (:mod:`cl_prompts.models.growth`).

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
    """Setting that a method must have, such as ``"head"``; among the strategies of a recipe, only
    those with the setting get the plugin."""
    copies: ClassVar[int] = 0
    """Numbers that it comes to store for each trained parameter."""
    one_label: ClassVar[str] = ""
    """Why the plugin is for one class per image alone; empty if it is for several as well."""

    def __init__(self, **settings: object) -> None:
        BaseSGDPlugin.__init__(self)
        self.assign(settings)
        self.state = Registered(self)
        """The plugin's registered state."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Prepare for a strategy, before its optimizer exists.

        Raises:
            InputError: the strategy does not suit the plugin.
        """

    def check_head(self, strategy: OnlineStrategy) -> None:
        """Refuse a strategy that does not train one head over all classes.

        Raises:
            InputError: it has prototypes, a head per task, or a mixture of heads.
        """
        if "head" not in strategy.settings() or not isinstance(strategy.model, PromptedViT):
            raise self.lacking(strategy, "a trained head over all classes")
        if self.one_label and strategy.model.multi_label:
            raise self.refusal(self.one_label)

    def check_stream_samples(self, strategy: OnlineStrategy) -> None:
        """Refuse a strategy whose batches have no stream samples.

        Raises:
            InputError: it trains on replayed samples alone.
        """
        if strategy.remember_first:
            raise self.refusal(
                f"needs stream samples, and {type(strategy).__name__} trains on replayed ones alone"
            )

    def lacking(self, strategy: OnlineStrategy, part: str) -> InputError:
        """Return the error for a strategy without a part that the plugin needs."""
        return self.refusal(f"needs {part}, which {type(strategy).__name__} does not have")

    def refusal(self, why: str, what_instead: str = "leave it out") -> InputError:
        """Return the error for a strategy that the plugin does not suit."""
        return InputError(f"{type(self).__name__} {why}: {what_instead}")

    def state_dict(self) -> State:
        """Return the registered state, as tensors and plain values."""
        return self.state.state_dict()

    def load_state_dict(self, state: State) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.state.load_state_dict(state)

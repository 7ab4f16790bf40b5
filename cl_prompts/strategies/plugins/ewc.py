"""EWC++: a penalty on moving important parameters (ECCV 2018)."""

from cl_prompts.checks import Decay, NotNegative
from cl_prompts.models.growth import padded
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.training.ewc import OnlineEWC


class EWC(StrategyPlugin):
    """Penalty of EWC++ (Chaudhry et al., ECCV 2018) for any gradient method.

    Source: arXiv 1801.10112. ``reg_coef * sum_p importance_p (p - anchor_p)^2`` over all trained
    parameters (:class:`~cl_prompts.training.ewc.OnlineEWC`). Importance and anchor are set to the
    current Fisher and parameters at the end of each announced task, or else every ``period``
    samples; until then there is no penalty. Its gradient is added in closed form, without another
    backward pass.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, plugins=[EWC(ema=0.9)], period=300, device="cpu")
        >>> one.plugin(EWC).importance.ema
        0.9
    """

    needs = "lr"
    copies = 3  # Fisher, importance and anchor

    reg_coef: NotNegative = 100.0
    """Weight of the penalty."""
    ema: Decay = 0.5
    """Decay of the Fisher per step, below 1."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Start without Fisher, importance and anchor."""
        if isinstance(strategy.model, PrototypeViT):
            raise self.lacking(strategy, "trained parameters")
        self.importance = OnlineEWC(strategy.model, reg_coef=self.reg_coef, ema=self.ema)
        self.state.add("importance")

    def after_backward(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Update the Fisher with the gradients of the plain loss, and add the penalty's."""
        # First, since F <- ema F + (1 - ema) g^2 excludes the penalty's gradient.
        self.importance.observe_gradients()
        self.importance.add_penalty_gradient()

    def end_of_task(self, strategy: OnlineStrategy) -> None:
        """Consolidate: the current parameters become the anchor, the Fisher their importance."""
        self.importance.consolidate()

    def grown(self) -> None:
        """Pad the state to the shapes of grown parameters with 0."""
        shapes = {name: p.shape for name, p in self.importance.model.named_parameters()}
        for values in (self.importance.fisher, self.importance.importance, self.importance.anchor):
            values.update({name: padded(value, shapes[name]) for name, value in values.items()})

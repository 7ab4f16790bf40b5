"""Slow heads: moving averages of the head, as an ensemble in evaluation."""

from collections.abc import Sequence

from cl_prompts.checks import Share
from cl_prompts.models.slow_heads import Ensemble
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin


class SlowHeads(StrategyPlugin):
    """Ensemble of the head and its moving averages, in evaluation. One class per image.

    FlyPrompt's temporal ensemble (ICLR 2026, arXiv 2602.01976;
    :class:`~cl_prompts.models.slow_heads.HeadAverages`), at almost no cost.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> probe = LinearProbe(**given, plugins=[SlowHeads(decays=(0.9,))], device="cpu")
        >>> probe.model.slow.decays
        (0.9,)
    """

    needs = "head"
    one_label = "is defined for one class per image"

    decays: Sequence[Share] = (0.9, 0.99)
    """Decays of the averages, one slow head each; empty for none."""
    ensemble: Ensemble = "softmax_max_prob"
    """Score of a class over all heads: greatest probability (``"softmax_max_prob"``), mean
    probability (``"softmax_mean"``), that of the head of least entropy
    (``"softmax_min_entropy"``), or greatest or mean logit (``"max_prob"``, ``"mean"``)."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Add slow heads to the model."""
        if not self.decays:
            return
        self.check_head(strategy)
        experts = getattr(strategy, "n_head_experts", 1)
        strategy.model.set_slow_heads(self.decays, experts, self.ensemble)

    def after_update(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Average the head."""
        if strategy.model.slow is not None:
            strategy.model.slow.update(strategy.model.head)

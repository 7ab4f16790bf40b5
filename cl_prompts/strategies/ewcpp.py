"""EWC++: replay, and a penalty on moving important parameters (ECCV 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from avalanche.benchmarks import CLExperience

from cl_prompts.checks import Count, Share, Size
from cl_prompts.strategies.base.head import HeadStrategy
from cl_prompts.training.ewc import OnlineEWC

ALIASES = ("ewc++", "ewc")


class EWCPlusPlus(HeadStrategy):
    """EWC++ (Chaudhry et al., ECCV 2018, arXiv 1801.10112) on top of experience replay, as in the
    Si-Blurry code.

    ``L = CE(stream and buffer) + reg_coef * sum_p importance_p (p - anchor_p)^2`` over all trained
    parameters. The Fisher diagonal is a running mean of squared batch gradients of the first term
    (``ema`` 0.5). Importance and anchor are overwritten by the current Fisher and parameters at the
    end of each announced task or else every ``period`` samples; before the first time there is no
    penalty. Its gradient is added in closed form: one backward pass, one step. Multi-label: the
    first term is binary cross-entropy.

    Published settings (defaults): reg_coef 100, the rest as in experience replay. Deviations from
    the published code: it consolidates at the ends of tasks that the stream does not announce
    (``boundaries=True`` does so here); it anchors all parameters but the last two tensors, none at
    all on a frozen ViT, while here the head is anchored; it makes two steps a batch with gradients
    of the first left in the second. See :class:`~cl_prompts.training.ewc.OnlineEWC`. Avalanche's
    own EWC computes its Fisher in a pass of its own at each task's end and keeps one anchor per
    task.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> ewc = EWCPlusPlus(backbone=create_backbone(), n_classes=10, evaluator=None, ema=0.9)
        >>> ewc.ewc.ema
        0.9
    """

    reg_coef: float = 100.0
    """Weight of the penalty."""
    ema: Share = 0.5
    """Share of the old Fisher that a step keeps."""
    period: Count | None = 1000
    """Stream samples between two consolidations where no boundary is announced; None for never."""
    buffer_size: Size = 2000
    """Samples in the reservoir; 0 leaves the penalty alone."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ewc = OnlineEWC(self.model, reg_coef=self.reg_coef, ema=self.ema)

    def backward(self) -> None:
        """Compute gradients of the plain loss, which update the Fisher, and add the penalty's."""
        super().backward()
        self.ewc.observe_gradients()
        self.ewc.add_penalty_gradient()

    def finish_task(self) -> None:
        """Consolidate: the current parameters become the anchor, the Fisher their importance."""
        self.ewc.consolidate()

    def state_dict(self) -> dict[str, Any]:
        """State of the base, and Fisher, importance and anchor."""
        return {**super().state_dict(), "ewc": self.ewc.state_dict()}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self.ewc.load_state_dict(state["ewc"])

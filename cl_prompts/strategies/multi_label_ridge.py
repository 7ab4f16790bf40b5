"""Multi-label ridge: regression on frozen features; classes not annotated count as absent."""

from typing import Any

from torch import Tensor

from cl_prompts.checks import Positive, Size
from cl_prompts.closed_form.leave_one_out import LeaveOneOut
from cl_prompts.closed_form.multi_label_ridge import RIDGES, MultiLabelRidge
from cl_prompts.metrics.multi_label import average_precision
from cl_prompts.strategies.base.prototype import OF_GRADIENTS, PrototypeStrategy


class MultiLabelRidgeProbe(PrototypeStrategy):
    """Multi-label ridge regression on the frozen class token: the multi-label baseline.

    With ``h = [f, 1]`` and targets y, 0 for classes that are not annotated: ``G += h' h``,
    ``Q += h' y``, scores ``h W`` with ``W = (G + ridge I)^-1 Q``. Sums are float64 and do not
    depend on order or batches; there is no replay. Images of other tasks act as negatives of a
    class, though they are not annotated for it. Not a published method under this name.

    With ``held_out`` > 0 the ridge is selected once, at the end of the first announced task (or
    ``period``): the one of 1, 3, 10, ..., 10^4 with the greatest mean average precision on held-out
    samples, a uniform sample of the stream so far.

    With one class per image the targets are one-hot.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> vit = create_backbone()
        >>> probe = MultiLabelRidgeProbe(backbone=vit, n_classes=10, evaluator=None, device="cpu")
        >>> probe.model.head.statistics.size  # 128 features and a constant
        129
    """

    classifier = MultiLabelRidge
    excluded = ("head", *OF_GRADIENTS)

    multi_label: bool = True
    ridge: Positive | LeaveOneOut = 100.0
    """Ridge, until one is selected. It scales with the square of the features' norm.
    ``"leave_one_out"``: at each solution that of the greatest mean average precision of
    leave-one-out scores."""
    held_out: Size = 0
    """Samples that select the ridge, whose features are stored; 0 for a fixed ridge."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.ridge_chosen = False
        """Whether the ridge was selected."""
        self.state.add("ridge_chosen")

    def finish_task(self) -> None:
        """Select the ridge at the end of the first task, and finish it."""
        head = self.model.head
        if len(head.held) and not self.ridge_chosen:
            head.choose_ridge(RIDGES, _minus_mean_precision)
            self.ridge_chosen = True
        super().finish_task()


def _minus_mean_precision(scores: Tensor, targets: Tensor) -> float:
    """Return minus the mean average precision over classes with a positive."""
    return -float(average_precision(scores, targets).nanmean())

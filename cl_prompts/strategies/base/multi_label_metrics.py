"""Multi-label metrics for Avalanche's evaluator."""

import torch
from avalanche.evaluation import PluginMetric, metrics
from avalanche.evaluation.metric_results import MetricResult, MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from cl_prompts.checks import Share, fits
from cl_prompts.errors import InputError
from cl_prompts.metrics.multi_label import MultiLabelScores, images_with, multi_label_results
from cl_prompts.strategies.base.experience import classes_of

# Metrics of Avalanche that reduce (batch, classes) targets to one label each.
_ONE_LABEL = (
    metrics.Accuracy,
    metrics.ClassAccuracy,
    metrics.ConfusionMatrix,
    metrics.TaskAwareAccuracy,
    metrics.TopkAccuracy,
)


def refuse_accuracy(evaluator: EvaluationPlugin) -> None:
    """Refuse an evaluator with a metric for one label per image.

    Avalanche's accuracies and confusion matrices take the arg-max of 2-D targets: they silently
    ignore all labels of an image but the first.

    Args:
        evaluator: an ``EvaluationPlugin``.

    Raises:
        InputError: the evaluator has such a metric.
    """
    for metric in evaluator.metrics:
        if any(isinstance(part, _ONE_LABEL) for part in vars(metric).values()):
            raise InputError(
                f"metric {str(metric)!r} is for one label per image: replace it by"
                " MultiLabelMetrics()"
            )


class MultiLabelMetrics(PluginMetric[MultiLabelScores]):
    """``MeanAP_Exp``, ``CF1_Exp`` and ``OF1_Exp`` of each experience, over the seen classes.

    Seen classes are the model's ``seen``, or else the experience's ``classes_seen_so_far``. Of
    these, only the classes annotated in the evaluated experience count (its
    ``classes_in_this_experience``): early cumulative test sets hide the labels of later classes, so
    zeros there have no meaning. As in the published protocol, images without such a label are left
    out. ``.ignored`` pairs (VOC's ``difficult="ignore"``) count as negatives here;
    ``AnytimeEvaluation`` leaves them out. Scores stay on the device until the experience ends. An
    undefined score (no seen class, no image) is not emitted.

    Args:
        threshold: probability above which a label counts as predicted; a model whose scores are
            not logits has its own ``score_threshold``.

    Raises:
        InputError: the threshold is out of range or, during a run, targets are not multi-hot.

    Example:
        >>> from avalanche.training.plugins import EvaluationPlugin
        >>> evaluator = EvaluationPlugin(MultiLabelMetrics(threshold=0.5), loggers=[])
        >>> [str(metric) for metric in evaluator.metrics]
        ['MultiLabel_Exp']
    """

    def __init__(self, threshold: float = 0.8) -> None:
        super().__init__()
        fits("the F1 threshold", threshold, Share)
        self.threshold = threshold
        self._scores: MultiLabelScores | None = None
        self.reset()

    def reset(self) -> None:
        """Clear the logits and targets of the experience."""
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def result(self) -> MultiLabelScores | None:
        """Return the scores of the last experience; None before the first one."""
        return self._scores

    def before_eval_exp(self, strategy: SupervisedTemplate) -> None:
        """Start an experience."""
        self.reset()

    def after_eval_iteration(self, strategy: SupervisedTemplate) -> None:
        """Store logits and targets of the batch."""
        targets = strategy.mb_y
        if targets.ndim != 2:
            raise InputError(
                f"MultiLabelMetrics() got targets of shape {tuple(targets.shape)} instead of"
                " (batch, classes): for one label per image use Avalanche's accuracy_metrics()"
            )
        self._logits.append(strategy.mb_output.detach().float())
        self._targets.append(targets.detach())

    def after_eval_exp(self, strategy: SupervisedTemplate) -> MetricResult:
        """Emit the scores of the experience."""
        if not self._targets:
            return []
        logits, targets = torch.cat(self._logits).cpu(), torch.cat(self._targets).cpu()
        self.reset()
        seen = _seen_classes(strategy, targets.shape[1])
        self._scores = scores = multi_label_results(
            logits,
            targets,
            seen,
            # As in the literature: images without a label seen so far are left out.
            rows=images_with(targets, seen),
            thresholds=(self.threshold,),
            score_threshold=getattr(strategy.model, "score_threshold", None),
        )
        own = scores.scores
        named = {"MeanAP_Exp": scores.mean_ap, "CF1_Exp": own["cf1"], "OF1_Exp": own["of1"]}
        x = strategy.clock.train_iterations
        return [
            MetricValue(
                self, get_metric_name(name, strategy, add_experience=True, add_task=True), value, x
            )
            for name, value in named.items()
            # NaN: the score is undefined.
            if value == value
        ]

    def __str__(self) -> str:
        return "MultiLabel_Exp"


def _seen_classes(strategy: SupervisedTemplate, n_classes: int) -> Tensor:
    """Return the (classes,) mask of the classes that count in the tested experience."""
    experience = strategy.experience
    seen = getattr(strategy.model, "seen", None)
    if seen is None:
        seen = torch.zeros(n_classes, dtype=torch.bool)
        seen[sorted(getattr(experience, "classes_seen_so_far", ()))] = True
    return seen.cpu() & classes_of(experience, n_classes)

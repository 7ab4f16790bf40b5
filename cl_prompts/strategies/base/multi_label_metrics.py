"""Multi-label metrics for Avalanche's evaluator."""

from __future__ import annotations

import torch
from avalanche.evaluation import PluginMetric, metrics
from avalanche.evaluation.metric_results import MetricResult, MetricValue
from avalanche.evaluation.metric_utils import get_metric_name
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

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

    Seen classes are the model's ``seen`` if it has one, else the columns that were positive in a
    training batch, or before training the experience's ``classes_seen_so_far``. Of these, only the
    classes annotated in the evaluated experience count (its ``classes_in_this_experience``): early
    cumulative test sets hide the labels of later classes, so zeros there have no meaning. As in
    the published protocol, images without such a label are left out. ``.ignored`` pairs (VOC's
    ``difficult="ignore"``) count as negatives here; ``AnytimeEvaluation`` leaves them out. Scores
    stay on the device until the experience ends. An undefined score (no seen class, no image) is
    not emitted.

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
        if not 0 < threshold < 1:
            raise InputError(
                f"the F1 threshold is {threshold:g}: give a probability between 0 and 1"
            )
        self.threshold = threshold
        self._trained: Tensor | None = None  # (classes,) bool, on the device: seen in training
        self._seen: Tensor | None = None
        self._score_threshold: float | None = None
        self.reset()

    def reset(self) -> None:
        """Clear the scores of the experience, but not the seen classes."""
        self._logits: list[Tensor] = []
        self._targets: list[Tensor] = []

    def result(self) -> MultiLabelScores | None:
        """Return the scores of the experience so far; None without a batch or a seen class."""
        if not self._logits or self._seen is None:
            return None
        logits = torch.cat(self._logits).cpu()
        targets = torch.cat(self._targets).cpu()
        seen = self._seen.cpu()
        # As in the literature: images without a label seen so far are left out.
        rows = images_with(targets, seen)
        return multi_label_results(
            logits,
            targets,
            seen,
            rows=rows,
            thresholds=(self.threshold,),
            score_threshold=self._score_threshold,
        )

    def after_training_iteration(self, strategy: SupervisedTemplate) -> None:
        """Record the classes of the batch, without a synchronisation."""
        super().after_training_iteration(strategy)
        seen = (_multi_hot(strategy.mb_y) > 0).any(dim=0)
        self._trained = seen if self._trained is None else self._trained.to(seen.device) | seen

    def before_eval_exp(self, strategy: SupervisedTemplate) -> None:
        """Start an experience."""
        super().before_eval_exp(strategy)
        self.reset()

    def after_eval_iteration(self, strategy: SupervisedTemplate) -> None:
        """Store logits and targets of the batch."""
        super().after_eval_iteration(strategy)
        self._logits.append(strategy.mb_output.detach().float())
        self._targets.append(_multi_hot(strategy.mb_y).detach())

    def after_eval_exp(self, strategy: SupervisedTemplate) -> MetricResult:
        """Emit the scores of the experience."""
        super().after_eval_exp(strategy)
        self._seen = self._seen_classes(strategy)
        self._score_threshold = getattr(strategy.model, "score_threshold", None)
        scores = self.result()
        self.reset()
        if scores is None:
            return []
        own = scores.own
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

    def _seen_classes(self, strategy: SupervisedTemplate) -> Tensor | None:
        if not self._targets:
            return None
        n_classes = self._targets[0].shape[1]
        experience = strategy.experience
        seen = getattr(strategy.model, "seen", None)
        if not isinstance(seen, Tensor):
            seen = self._trained
        if seen is None:
            seen = torch.zeros(n_classes, dtype=torch.bool)
            seen[sorted(getattr(experience, "classes_seen_so_far", ()))] = True
        return seen.cpu() & classes_of(experience, n_classes)

    def __str__(self) -> str:
        return "MultiLabel_Exp"


def _multi_hot(targets: Tensor) -> Tensor:
    if targets.ndim != 2:
        raise InputError(
            f"MultiLabelMetrics() got targets of shape {tuple(targets.shape)} instead of (batch,"
            " classes): for one label per image use Avalanche's accuracy_metrics()"
        )
    return targets

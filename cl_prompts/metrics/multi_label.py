"""Multi-label metrics: average precision per class, mAP, and F1 scores.

All are fractions in [0, 1]. Logits and targets are (images, classes), targets 0/1. Unseen classes
are left out by selecting columns, never by a mask value. Plain torch and numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cl_prompts.errors import RunError

THRESHOLDS = (0.8, 0.5)
"""Probabilities above which a label is predicted: MULTI-LANE's and KRT's, and the usual."""


@dataclass(frozen=True)
class MultiLabelScores:
    """One multi-label evaluation.

    Attributes:
        ap: (classes,) float64 average precisions, NaN for unseen classes and without positives.
        mean_ap: mean of the defined ``ap``; NaN if none is.
        scores: :func:`f1_scores` over the seen classes by threshold (``cf1_80``: in percent), and
            at the model's own (``cf1``): its score threshold, or the first one.

    Example:
        >>> logits = torch.tensor([[3.0, -3.0], [-3.0, 3.0]])
        >>> found = multi_label_results(logits, logits > 0, torch.tensor([True, True]))
        >>> found.mean_ap, found.scores["cf1_80"]
        (1.0, 1.0)
    """

    ap: Tensor
    mean_ap: float
    scores: dict[str, float]


def average_precision(logits: Tensor, targets: Tensor, ignored: Tensor | None = None) -> Tensor:
    """Average precision of each class, as scikit-learn's ``average_precision_score``.

    The area under the precision-recall steps, not interpolated, equal scores counted together.
    KRT's published code (arXiv 2302.13334) breaks ties by position and counts a class without
    positives as 0.

    Args:
        logits: (images, classes) scores of any monotone kind.
        targets: (images, classes) 0/1.
        ignored: (images, classes) bool, pairs that are left out (VOC's difficult objects under
            ``difficult="ignore"``).

    Returns:
        (classes,) float64 on the CPU, NaN for classes without a positive.

    Raises:
        RunError: a score is NaN or infinite.
    """
    scores, positive, counted = (part.numpy() for part in _on_cpu(logits, targets, ignored))
    result = torch.full((scores.shape[1],), float("nan"), dtype=torch.float64)
    for c in range(scores.shape[1]):
        rows = counted[:, c]
        levels, there = np.unique(scores[rows & positive[:, c], c], return_counts=True)
        if not len(levels):  # a class without positives has no recall
            continue
        # at each distinct score of a positive: positives of at least this score, of all such images
        found = there[::-1].cumsum()[::-1]
        ranked = np.sort(scores[rows, c])
        precision = found / (len(ranked) - np.searchsorted(ranked, levels))
        # sum of (R_n - R_(n-1)) P_n
        result[c] = float((there / found[0] * precision).sum())
    return result


def f1_scores(
    logits: Tensor, targets: Tensor, *, threshold: float = 0.8, ignored: Tensor | None = None
) -> dict[str, float]:
    """F1 scores of the predictions ``sigmoid(logit) > threshold`` (strict).

    Args:
        logits: (images, classes), of the seen classes only.
        targets: (images, classes) 0/1.
        threshold: probability in (0, 1).
        ignored: (images, classes) bool, pairs that are left out.

    Returns:
        ``cf1``: mean of the classes' F1, as in the code of MULTI-LANE and KRT; ``cf1_harmonic``:
            harmonic mean of ``cp`` and ``cr``, the other CF1 in the literature; ``cp``, ``cr``:
            mean precision and recall of the classes; ``of1``, ``op``, ``or``: F1, precision and
            recall over all pairs. 0/0 counts as 0; all are NaN without images or classes.

    Raises:
        RunError: a logit is NaN or infinite.
    """
    scores, positive, counted = _on_cpu(logits, targets, ignored)
    names = ("cf1", "cf1_harmonic", "cp", "cr", "of1", "op", "or")
    if scores.numel() == 0:
        return dict.fromkeys(names, float("nan"))
    predicted = (scores.sigmoid() > threshold) & counted
    positive = positive & counted
    # per class: true positives, predicted positives, positives
    right = (predicted & positive).sum(0).double()
    claimed = predicted.sum(0).double()
    there = positive.sum(0).double()
    precision, recall = _ratio(right, claimed), _ratio(right, there)
    # means over classes (C), and ratios of sums over classes (O)
    cp, cr = precision.mean(), recall.mean()
    op, or_ = _ratio(right.sum(), claimed.sum()), _ratio(right.sum(), there.sum())
    means = _harmonic(precision, recall).mean(), _harmonic(cp, cr), cp, cr
    f1 = (*means, _harmonic(op, or_), op, or_)
    return {name: float(value) for name, value in zip(names, f1, strict=True)}


def multi_label_results(
    logits: Tensor,
    targets: Tensor,
    seen: Tensor,
    *,
    rows: Tensor | None = None,
    ignored: Tensor | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    score_threshold: float | None = None,
) -> MultiLabelScores:
    """Compute the scores over the seen classes.

    Args:
        logits: (images, classes) over all classes; unseen ones are ignored.
        targets: (images, classes) 0/1 over all classes.
        seen: (classes,) bool.
        rows: (images,) bool, test images that count; None: all. ``images_with(targets, seen)`` is
            the published test set, without images that show no seen class.
        ignored: (images, classes) bool, pairs that are left out.
        thresholds: of the F1 scores.
        score_threshold: for scores that are not logits, as of ridge regression: the score above
            which a label is predicted. F1 scores at probabilities are then NaN.

    Raises:
        RunError: a logit of a seen class is NaN or infinite.
    """
    rows = torch.ones(len(logits)) if rows is None else rows
    columns = torch.nonzero(seen.cpu()).flatten()
    logits, targets, ignored = _block(
        torch.nonzero(rows.cpu()).flatten(), columns, logits, targets, ignored
    )
    ap = torch.full((len(seen),), float("nan"), dtype=torch.float64)
    ap[columns] = average_precision(logits, targets, ignored)
    found = [f1_scores(logits, targets, threshold=t, ignored=ignored) for t in thresholds]
    own = found[0]
    if score_threshold is not None:
        # sigmoid(s - t) > 0.5 where s > t
        own = f1_scores(logits.double() - score_threshold, targets, threshold=0.5, ignored=ignored)
        found = [dict.fromkeys(own, float("nan")) for _ in thresholds]
    scores = {
        f"{name}_{100 * t:g}": value
        for t, f1 in zip(thresholds, found, strict=True)
        for name, value in f1.items()
    }
    return MultiLabelScores(ap, float(ap.nanmean()), scores | own)


def images_with(targets: Tensor, classes: Tensor | Sequence[int]) -> Tensor:
    """(images,) bool: images with a positive among ``classes`` (a bool mask or class ids)."""
    return (targets[:, classes if isinstance(classes, Tensor) else list(classes)] > 0).any(dim=1)


def fixed_average_precision(
    logits: Tensor,
    targets: Tensor,
    tasks: Sequence[Sequence[int]],
    ignored: Tensor | None = None,
) -> Tensor:
    """AP of each class on the fixed test set after its own task.

    That set holds the images with a label of this task or an earlier one. The test set of all seen
    classes grows from task to task, which alone changes the AP of old classes.

    Args:
        logits: (images, classes) over all test images and classes.
        targets: (images, classes) 0/1.
        tasks: new classes of each task, for tasks whose classes have been seen.
        ignored: (images, classes) bool, pairs that are left out.

    Returns:
        (classes,) float64, NaN for classes of no given task and without positives.
    """
    ap = torch.full((logits.shape[1],), float("nan"), dtype=torch.float64)
    known: list[int] = []
    for task in tasks:
        known += task
        classes = torch.as_tensor(list(task), dtype=torch.int64)
        rows = torch.nonzero(images_with(targets, known).cpu()).flatten()
        ap[classes] = average_precision(*_block(rows, classes, logits, targets, ignored))
    return ap


def _block(
    rows: Tensor, columns: Tensor, logits: Tensor, targets: Tensor, ignored: Tensor | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """The given rows and columns of each, on the CPU."""
    where = (rows[:, None], columns[None])
    return (
        logits.cpu()[where],
        targets.cpu()[where],
        None if ignored is None else ignored.cpu()[where],
    )


def _on_cpu(
    logits: Tensor, targets: Tensor, ignored: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Checked scores (float64), positives (bool) and counted pairs (bool), (images, classes)."""
    scores = logits.detach().cpu().double()
    if not scores.isfinite().all():
        column = int((~scores.isfinite()).any(dim=0).int().argmax())
        raise RunError(
            f"the scores in column {column} are not finite: training has diverged, lower the"
            " learning rate"
        )
    counted = torch.ones_like(scores, dtype=torch.bool)
    if ignored is not None:
        counted = ~ignored.cpu().bool()
    return scores, targets.cpu() > 0, counted


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    return part / whole.clamp(min=1)  # part <= whole, so 0/0 gives 0


def _harmonic(precision: Tensor, recall: Tensor) -> Tensor:
    return 2 * precision * recall / (precision + recall).clamp(min=torch.finfo(torch.float64).tiny)

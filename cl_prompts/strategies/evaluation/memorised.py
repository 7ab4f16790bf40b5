"""Scores of the training images with wrong labels, after training."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Subset

from cl_prompts.datasets.collate import LabelledItems
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.metrics.multi_label import THRESHOLDS
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.evaluation.anytime import AnytimeEvaluation
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator


def memorised(
    strategy: OnlineStrategy,
    anytime: AnytimeEvaluation,
    train: ImageSet,
    tasks: Sequence[np.ndarray],
    visible: np.ndarray,
) -> dict[str, float]:
    """Return ``memorised`` and ``recovered``, or nothing if no label of the stream is wrong.

    These are the shares of the images with a wrong label for which the trained model predicts that
    label, and the right one; with several labels, of the pairs of image and class. The cost counts
    as that of an evaluation.

    Args:
        strategy, anytime: after training.
        train: training images without augmentation, with ``true`` labels.
        tasks: rows of each task of the stream.
        visible: annotated classes of each task, (tasks, C) bool.
    """
    differ = train.targets != train.true
    shown = np.zeros_like(differ)
    for rows, classes in zip(tasks, visible, strict=True):
        shown[rows] |= classes if train.multi_label else True
    differ &= shown
    chosen = np.flatnonzero(differ if differ.ndim == 1 else differ.any(axis=1))
    if not len(chosen):
        return {}
    images = LabelledItems(Subset(train, chosen.tolist()), train.targets[chosen])
    own, budget = anytime.evaluator, strategy.budget
    given = {"batch_size": own.batch_size, "num_workers": own.num_workers}
    evaluator = CachedEvaluator(images, device=own.device, **given)
    model, seen = strategy.model, strategy.model.seen
    if budget is not None:
        model, seen = budget.served or model, budget.arrived
    predicted = np.zeros_like(train.targets)
    threshold = getattr(model, "score_threshold", None)
    for batch, scores in evaluator.logits(model, seen):
        if not train.multi_label:
            found = scores.argmax(dim=1)
        elif threshold is None:
            found = scores.sigmoid() > THRESHOLDS[0]
        else:
            found = scores > threshold
        predicted[chosen[batch.numpy()]] = found.cpu().numpy()
    evaluator.close()
    own.images += evaluator.images
    own.macs += evaluator.macs
    named = {"memorised": train.targets, "recovered": train.truth}
    return {name: float(np.mean((predicted == one)[differ])) for name, one in named.items()}

"""Scores of the training images with wrong labels, after training."""

from collections.abc import Sequence

import numpy as np
from torch.utils.data import Subset

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.metrics.continual import wrong_label_scores
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
    """Return the shares of wrong labels that a trained model predicts, and that it corrects.

    With several labels per image, the model's own threshold decides. The cost counts as that of an
    evaluation.

    Args:
        strategy: after training.
        anytime: its evaluation.
        train: training images without augmentation, with ``true`` labels.
        tasks: rows of each task of the stream.
        visible: annotated classes of each task, (tasks, C) bool; for several labels per image.

    Returns:
        see :func:`~cl_prompts.metrics.continual.wrong_label_scores`; empty if no label of the
        stream is wrong.
    """
    differ = train.targets != train.true
    shown = np.zeros_like(differ)
    for rows, classes in zip(tasks, visible, strict=True):
        shown[rows] |= classes if train.multi_label else True
    differ &= shown
    chosen = np.flatnonzero(differ if differ.ndim == 1 else differ.any(axis=1))
    if not len(chosen):
        return {}
    images = Subset(train, chosen.tolist())
    images.targets = train.targets[chosen]  # type: ignore[attr-defined]
    own = anytime.evaluator
    evaluator = CachedEvaluator(
        images, batch_size=own.batch_size, device=own.device, num_workers=own.num_workers
    )
    budget = strategy.budget
    model = (None if budget is None else budget.served) or strategy.model
    seen = strategy.model.seen if budget is None else budget.arrived
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
    return wrong_label_scores(predicted[differ], train.targets[differ], train.truth[differ])

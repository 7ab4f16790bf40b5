"""Calibration of closed-form models by held-out scores, without held-out images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cl_prompts.closed_form.held_out_scores import held_out_scores
from cl_prompts.experiments.trained.arithmetic import Sums
from cl_prompts.experiments.trained.card import Accuracy, Calibration
from cl_prompts.experiments.trained.evaluating import confusion_of
from cl_prompts.metrics.confidence import confidence, temperature_of
from cl_prompts.metrics.intervals import wilson
from cl_prompts.metrics.multi_label import average_precision

#: how scores of learned images become held-out ones
HOW = "5-fold"


class Calibrated(NamedTuple):
    """What held-out scores of a model's sample say; ``confusion`` is None with several labels."""

    calibration: Calibration = Calibration()
    accuracy: Accuracy | None = None
    confusion: Tensor | None = None


def calibrated(sums: Sums) -> Calibrated:
    """Calibrate a model by held-out scores of its sample of learned images."""
    labels = torch.from_numpy(sums.ledger.labels[sums.ledger.rows])
    features = torch.from_numpy(sums.ledger.features).to(sums.network.seen.device)
    head, several = sums.network.head, sums.network.multi_label
    found = held_out_scores(head, features, labels, seed=0) if len(labels) else None
    if found is None:
        return Calibrated()
    rows, scores = found
    wanted = labels[rows]
    temperature: float | None = None
    confusion: Tensor | None = None
    if not several:
        # A class whose samples are all in one part has no score there.
        scored = scores.gather(1, wanted[:, None])[:, 0].isfinite()
        temperature = temperature_of(scores[scored], wanted[scored])
        confusion = confusion_of(wanted, scores.argmax(dim=1), len(sums.classes))
    logits = scores / (temperature or 1.0)
    sure = confidence(logits, sums.network.seen.cpu() if several else None).sort().values
    # With a single class it is infinite.
    sure = sure[sure.isfinite()]
    own = Calibration(temperature=temperature, confidence=sure.tolist(), how=HOW)
    return Calibrated(own, accuracy_of(scores, wanted, HOW), confusion)


def accuracy_of(logits: Tensor, labels: Tensor, how: str) -> Accuracy:
    """Return accuracy with Wilson's interval, or mean average precision without one."""
    n = len(labels)
    if labels.ndim == 2:
        value = float(average_precision(logits, (labels > 0).float()).nanmean())
        return Accuracy(measure="mAP", value=value, low=None, high=None, images=n, how=how)
    value = float((logits.argmax(dim=1) == labels).float().mean())
    low, high = wilson(value, n)
    return Accuracy(measure="accuracy", value=value, low=low, high=high, images=n, how=how)

"""Calibration of closed-form classifiers on training samples."""

from typing import Any

import pytest
import torch

from cl_prompts.closed_form import (
    BalancedRidge,
    ContrastiveProjection,
    NearestClassMean,
    PrototypeClassifier,
    RanPAC,
)
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.metrics.confidence import temperature_of
from cl_prompts.strategies.evaluation.feature_sample import FeatureSample

N, DIM, CLASSES = 120, 6, 4
LABELS = torch.arange(N) % 3  # one class was never seen
FEATURES = (
    torch.randn(N, DIM, generator=torch.Generator().manual_seed(1)) + 2 * torch.eye(DIM)[LABELS]
)


def sample_of(size: int) -> FeatureSample:
    sample = FeatureSample()
    sample.sample = HeldOutSample(size, DIM, 3, seed=1).float()
    # A sample's task and row stand before its label.
    sample.sample.add(FEATURES, torch.nn.functional.pad(LABELS[:, None], (2, 0)))
    return sample


@pytest.mark.parametrize(
    ("kind", "arguments", "parts"),
    [
        (NearestClassMean, {}, N),
        (RanPAC, {"projection": 50, "held_out": 20}, N),
        (BalancedRidge, {"projection": 20}, 5),  # no leave-one-out scores
    ],
)
def test_samples_are_scored_by_a_classifier_trained_without_them(
    kind: type[PrototypeClassifier], arguments: dict[str, Any], parts: int
) -> None:
    head = kind(DIM, CLASSES, **arguments)
    head.update(FEATURES, LABELS)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    sample = sample_of(N)
    found = sample.temperature(head)
    features, targets = sample.sample.samples
    logits = []
    for rows in torch.arange(N).chunk(parts):
        others = torch.tensor([i for i in range(N) if i not in rows.tolist()])
        rest = kind(DIM, CLASSES, **arguments)
        rest.update(features[others], targets[others, 2].long())
        logits.append(rest.logits(features[rows]))
    want = temperature_of(torch.cat(logits), targets[:, 2].long())
    assert found == pytest.approx(want, rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_other_classifiers_have_no_temperature() -> None:
    head = ContrastiveProjection(DIM, CLASSES, projection=9, form="released")
    head.update(FEATURES, LABELS)
    assert sample_of(50).temperature(head) is None
    assert sample_of(0).temperature(NearestClassMean(DIM, CLASSES)) is None

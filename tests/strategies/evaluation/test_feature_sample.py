"""Calibration and order check of closed-form classifiers on training samples."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.closed_form.anacp import AnaCP
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.pooled_ridge import PooledRidge
from cl_prompts.closed_form.prototype_classifiers import (
    NearestClassMean,
    PrototypeClassifier,
    StreamingLDA,
)
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.metrics.confidence import temperature_of
from cl_prompts.strategies.evaluation import feature_sample
from cl_prompts.strategies.evaluation.feature_sample import FeatureSample
from tests.toy_data import experiences
from tests.toys import fit, make

N, DIM, CLASSES = 120, 6, 4
LABELS = torch.arange(N) % 3  # one class was never seen
FEATURES = (
    torch.randn(N, DIM, generator=torch.Generator().manual_seed(1)) + 2 * torch.eye(DIM)[LABELS]
)


def sample_of(size: int) -> FeatureSample:
    sample = FeatureSample()
    sample.sample = HeldOutSample(size, DIM, 1, seed=1, dtype=torch.float32)
    sample.sample.add(FEATURES, LABELS[:, None])
    return sample


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(NearestClassMean, {}), (PooledRidge, {}), (RanPAC, {"projection": 50, "held_out": 20})],
)
def test_samples_are_scored_by_a_classifier_trained_without_them(
    kind: type[PrototypeClassifier], arguments: dict[str, Any]
) -> None:
    head = kind(DIM, CLASSES, **arguments)
    head.update(FEATURES, LABELS)
    before = {name: value.clone() for name, value in head.state_dict().items()}
    sample = sample_of(N)  # all samples, so five parts of 24 each
    found = sample.temperature(head)
    features, targets = sample.sample.samples
    logits = []
    for rows in torch.arange(N).chunk(5):
        others = torch.tensor([i for i in range(N) if i not in rows.tolist()])
        rest = kind(DIM, CLASSES, **arguments)
        rest.update(features[others], targets[others, 0].long())
        logits.append(rest.logits(features[rows]))
    want = temperature_of(torch.cat(logits), targets[:, 0].long())
    assert found == pytest.approx(want, rel=1e-6)
    assert all(torch.equal(value, before[name]) for name, value in head.state_dict().items())


def test_other_classifiers_have_no_temperature() -> None:
    head = AnaCP(DIM, CLASSES, projection=9, form="released")
    head.update(FEATURES, LABELS)
    assert sample_of(50).temperature(head) is None
    assert sample_of(0).temperature(NearestClassMean(DIM, CLASSES)) is None


class Latest(NearestClassMean):
    """Means that forget: wrong, since they depend on the order."""

    def _update(self, x: Any, onehot: Any, labels: Any) -> None:
        super()._update(x, onehot, labels)
        self.mean *= 0.9


def checked(head: PrototypeClassifier, size: int = 100) -> dict[str, float] | None:
    head.update(FEATURES, LABELS)
    return sample_of(size).order_check(head)


def test_sums_score_alike_in_any_order_and_recursions_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for head in (NearestClassMean(DIM, CLASSES), StreamingLDA(DIM, CLASSES)):
        found = checked(head)
        assert found is not None
        assert (found["orders"], found["samples"]) == (5, 100)
        assert found["difference"] < 1e-10
        assert float(head.count.sum()) == N  # the check has left it alone
    found = checked(Latest(DIM, CLASSES, metric="euclidean"))
    assert found is not None
    assert found["difference"] > 1e-3
    assert checked(RanPAC(DIM, CLASSES, projection=9, held_out=5)) is None
    assert checked(NearestClassMean(DIM, CLASSES), size=0) == {"orders": 0}
    monkeypatch.setattr(feature_sample, "WORK", 10)
    assert checked(NearestClassMean(DIM, CLASSES)) == {"orders": 0}


def test_with_several_labels_the_order_is_checked_on_annotated_classes() -> None:
    plugin = FeatureSample()
    strategy = make("multi_label_ridge", "mlcil", plugins=[plugin])
    fit(strategy, experiences("mlcil"))
    features, targets = plugin.sample.samples
    assert set(targets.unique().tolist()) == {-1, 0, 1}
    found = plugin.order_check(strategy.model.head, multi_label=True)
    assert found is not None
    assert found["samples"] == len(features)
    assert found["difference"] < 1e-8

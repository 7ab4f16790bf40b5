"""Closed-form methods on streams: weights of classes, kernels, and when a ridge is chosen."""

from typing import Any

import pytest
import torch

from cl_prompts.closed_form.multi_label_ridge import RIDGES, MultiLabelRidge
from cl_prompts.closed_form.ridge_lda import RidgeLDA
from cl_prompts.metrics.multi_label import f1_scores
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Blobs, Scenes, benchmark, experiences
from tests.toys import fit, make


def test_a_class_weighs_the_same_however_rare_it_is() -> None:
    air = fit(make("air"), experiences())
    v, count = air.model.head.class_weights(), air.model.head.count
    torch.testing.assert_close(v * count, torch.full_like(v, float((v * count).mean())))


def test_the_kernel_is_that_of_the_first_batch() -> None:
    strategy = fit(make("klda"), experiences())
    first = next(iter(experiences())).dataset
    n = strategy.train_mb_size
    images = torch.stack([first[i][0] for i in range(min(n, len(first)))])
    features = strategy.model.features(images).double()
    distance = torch.pdist(features).square().median()
    found = strategy.model.head.members[0].expansion.bandwidth
    torch.testing.assert_close(float(found), float(1 / distance), rtol=1e-5, atol=0)


def test_it_is_its_parts_on_either_kind_of_labels() -> None:
    layup = make("layup", "mlcil").model.head
    assert (type(layup), layup.dim) == (MultiLabelRidge, 2 * 16)
    images = Blobs(12, seed=7).images
    assert type(make("recommended").model.head) is RidgeLDA
    chosen = {"features": "blocks:half", "ridge": "leave_one_out"}
    both = [
        fit(make(kind, "mlcil", **changes), experiences("mlcil")).model(images)
        for kind, changes in (("recommended", {}), ("multi_label_ridge", chosen))
    ]
    assert torch.equal(*both)


def test_labels_are_predicted_above_the_threshold_of_its_scores() -> None:
    test = Scenes(30, seed=2)
    anytime = AnytimeEvaluation(test, n_classes=6, every=None)
    strategy = fit(
        make("multi_label_ridge", "mlcil", plugins=[anytime]), benchmark("mlcil").train_stream
    )
    assert strategy.model.score_threshold == 0.1
    logits = strategy.model(test.images)
    predicted = (logits > 0.1).float() * 2 - 1
    want = f1_scores(predicted, torch.from_numpy(test.targets), threshold=0.5)
    found = anytime.results
    for score, value in want.items():
        assert found[score] == pytest.approx(value)
    assert found["cf1"] > 0.1
    assert found["cf1_80"] is None  # its scores have no probabilities
    assert found["of1_50"] is None


SINGLE = [
    ("class_incremental", {}, True),  # announced
    ("si_blurry", {}, False),  # not announced
    ("si_blurry", {"period": 50}, True),
    ("class_incremental", {"held_out": 0}, False),
]
SEVERAL = [
    ("mlcil", {"held_out": 20}, True),
    ("si_blurry_multi_label", {"held_out": 20}, False),
    ("si_blurry_multi_label", {"held_out": 20, "period": 24}, True),
]


@pytest.mark.parametrize(
    ("kind", "scenario", "changes", "chosen"),
    [
        *[("ranpac", *case) for case in SINGLE],
        ("layup", "class_incremental", {"held_out": 60}, True),
        ("layup", "si_blurry", {"held_out": 60}, False),
        *[("multi_label_ridge", *case) for case in SEVERAL],
    ],
)
def test_the_ridge_is_chosen_where_a_task_ends(
    kind: str, scenario: str, changes: dict[str, Any], chosen: bool
) -> None:
    strategy = make(kind, scenario, ridge=7.0, **changes)  # no candidate
    ridges = []
    for part in experiences(scenario):
        fit(strategy, [part])
        ridges.append(float(strategy.model.head.ridge))
    assert (ridges[-1] != 7.0) == chosen
    if kind == "multi_label_ridge":  # once
        assert len(set(ridges)) == 1
        assert ridges[0] in RIDGES or not chosen
        resumed = make(kind, scenario, **changes)
        resumed.load_state_dict(strategy.state_dict())
        assert strategy.ridge_chosen == resumed.ridge_chosen == chosen

"""Multi-label ridge: what it regresses on, when its ridge is chosen, how its labels are counted."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.metrics.multi_label import f1_scores
from cl_prompts.models.multi_label_ridge import RIDGES
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Scenes, benchmark, experiences
from tests.toys import fit, make


@pytest.mark.parametrize(
    ("scenario", "changes", "chosen"),
    [
        ("mlcil", {"held_out": 20}, True),
        ("mlcil", {"held_out": 0}, False),
        ("si_blurry_multi_label", {"held_out": 20}, False),  # nothing is announced
        ("si_blurry_multi_label", {"held_out": 20, "period": 24}, True),
        ("class_incremental", {"held_out": 20}, True),
    ],
)
def test_the_ridge_is_chosen_once_after_the_first_task(
    scenario: str, changes: dict[str, Any], chosen: bool
) -> None:
    strategy = make("multi_label_ridge", scenario, ridge=2.0, **changes)
    ridges = []
    for part in experiences(scenario):
        fit(strategy, [part])
        ridges.append(float(strategy.model.head.ridge))
    assert len(set(ridges)) == 1
    assert ridges[0] in RIDGES if chosen else ridges[0] == 2.0
    resumed = make("multi_label_ridge", scenario, **changes)
    resumed.load_state_dict(strategy.state_dict())
    assert strategy.ridge_chosen == resumed.ridge_chosen == chosen


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

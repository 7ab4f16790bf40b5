"""Multi-label ridge: what it regresses on, when its ridge is chosen, how its labels are counted."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.metrics.multi_label import f1_scores
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import Scenes, benchmark
from tests.toys import fit, make


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

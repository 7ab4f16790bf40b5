"""Learned state can be saved, and loaded only into a strategy built alike."""

from pathlib import Path

import pytest
import torch

from tests.families.runs import IMAGES, begin, finished, scores
from tests.toys import LOOKED_AT, cases


@pytest.mark.parametrize(("kind", "scenario"), cases(*LOOKED_AT, variants=(), once=True))
def test_a_saved_model_predicts_the_same(kind: str, scenario: str, tmp_path: Path) -> None:
    run = finished(kind, scenario)
    second = begin(kind, scenario)
    path = tmp_path / "m.safetensors"
    run.strategy.model.save(str(path))
    second.model.load(str(path))
    assert torch.equal(scores(run.strategy, IMAGES), scores(second, IMAGES))
    learns = run.strategy.model.backbone.trainable
    saved = set(run.strategy.model.learned_state())
    assert any(name.startswith("backbone.") for name in saved) == learns

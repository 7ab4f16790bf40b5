"""TensorBoard of a run agrees with its metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.experiments.commands import rows


@pytest.mark.parametrize(
    ("tag", "metric", "scope"),
    [
        ("accuracy/anytime", "anytime_accuracy", "seen"),
        ("accuracy/task_end", "task_end_accuracy", "seen"),
        ("task_accuracy/task_1", "task_end_accuracy", "task:1"),
        ("loss/train", "loss", "train"),
        ("forgetting", "forgetting", "seen"),
        ("prompt_usage_entropy", "prompt_usage_entropy", "task"),
    ],
)
def test_scalars_are_those_of_the_file(mvp_run: Path, tag: str, metric: str, scope: str) -> None:
    written = [(int(r[0]), float(r[3])) for r in rows(mvp_run) if r[1:3] == [metric, scope]]
    shown = EventAccumulator(str(mvp_run)).Reload().Scalars(tag)
    assert written
    assert [event.step for event in shown] == [samples for samples, _ in written]
    values = [value for _, value in written]
    assert [event.value for event in shown] == pytest.approx(values, abs=1e-6)


def test_pictures_and_histograms(mvp_run: Path) -> None:
    tags = EventAccumulator(str(mvp_run)).Reload().Tags()
    assert {"stream", "class_accuracy", "keys"} <= set(tags["images"])
    assert {"prompt_usage", "buffer"} <= set(tags["histograms"] + tags["tensors"])

"""Loggers: what TensorBoard reads back, and an online one."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.experiments.tracking.tracker import OnlineLogger, event_writer


def test_a_resumed_run_takes_later_points_back_and_has_a_file_of_its_own(tmp_path: Path) -> None:
    for start, values in ((0, {10: 0.1, 20: 0.2}), (10, {15: 0.5})):
        logger = event_writer(tmp_path, start)
        for step, value in values.items():
            logger.add_scalar("accuracy/anytime", value, step)
        logger.close()
    assert len(list(tmp_path.iterdir())) == 2
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("accuracy/anytime")
    assert [event.step for event in found] == [10, 15]


def test_an_online_board_gets_values_over_samples_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []
    begun = SimpleNamespace(
        log=calls.append,
        finish=lambda: calls.append("finish"),
        define_metric=lambda *names, **more: None,
    )
    library = SimpleNamespace(init=lambda **how: calls.append(how) or begun, Settings=dict)
    monkeypatch.setitem(sys.modules, "wandb", library)
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    folder = tmp_path / "digits" / "ncm" / "1-x"
    logger = OnlineLogger(folder, {"recipe": "digits"})
    logger.add_scalar("accuracy/anytime", 0.5, 64)
    logger.close()
    how, *rest = calls
    assert (how["project"], how["name"], how["group"]) == ("mine", "digits/ncm/1-x", "digits")
    assert how["resume"] == "allow"
    assert how["id"] == "digits-ncm-1-x"
    assert rest == [{"accuracy/anytime": 0.5, "samples_seen": 64}, "finish"]

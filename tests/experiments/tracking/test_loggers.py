"""Loggers: what TensorBoard reads back, one's own beside it, and online ones."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.tracking.tracker import TensorBoard, logger_class
from tests.experiments.commands import QUICK, run, summary

HERE = "tests.experiments.tracking.test_loggers"
ER = ["digits", "strategy=er", "er.buffer_size=8", "seed=1", *QUICK]


def test_a_resumed_run_takes_later_points_back_and_has_a_file_of_its_own(tmp_path: Path) -> None:
    for start, values in ((0, {10: 0.1, 20: 0.2}), (10, {15: 0.5})):
        logger = TensorBoard(tmp_path, start)
        for step, value in values.items():
            logger.write("accuracy/anytime", value, step)
        logger.close()
    assert len(list(tmp_path.iterdir())) == 2
    found = EventAccumulator(str(tmp_path)).Reload().Scalars("accuracy/anytime")
    assert [event.step for event in found] == [10, 15]


class Written:
    """Writes what it is shown into a file of the run folder."""

    def __init__(self, folder: Path, settings: Mapping[str, Any], start: int) -> None:
        self.folder = folder
        self.shown: dict[str, Any] = {"strategy": settings["strategy"], "start": start}

    def write(self, tag: str, value: Any, step: int) -> None:
        self.shown.setdefault(tag, []).append([step, value])

    def close(self) -> None:
        (self.folder / "shown.json").write_text(json.dumps(self.shown))


class Broken(Written):
    """A service that is down."""

    def write(self, tag: str, value: Any, step: int) -> None:
        raise ConnectionError("the service is down")


@pytest.mark.slow
def test_an_own_board_gets_what_tensorboard_gets(tmp_path: Path) -> None:
    code, (folder,) = run(tmp_path, *ER, f"tracker={HERE}:Written")
    assert code == 0
    shown = json.loads((folder / "shown.json").read_text())
    assert (shown.pop("strategy"), shown.pop("start")) == ("er", 0)
    logger = EventAccumulator(str(folder)).Reload()
    tags = logger.Tags()
    assert set(shown) == {*tags["scalars"]}
    for tag in tags["scalars"]:
        other = [[event.step, event.value] for event in logger.Scalars(tag)]
        assert np.array(shown[tag]) == pytest.approx(np.array(other), rel=1e-6)  # these are float32


@pytest.mark.slow
def test_a_board_that_fails_ends_the_run_which_continues_without_it(tmp_path: Path) -> None:
    code, (folder,) = run(tmp_path, *ER, f"tracker={HERE}:Broken")
    assert code == 1
    assert summary(folder)["error"] == "the service is down"
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(f"{HERE}:Broken", "null"))
    assert main(["run", "--resume", str(folder), "--trust-code", "--quiet"]) == 0


def test_a_tracker_is_declared_user_code(refused: Any) -> None:
    refused("did you mean 'wandb'", "validate", "digits", "strategy=ncm", "tracker=wandbb")
    (settings,) = plan("digits", ["strategy=ncm", "seed=1", f"tracker={HERE}:Written"])
    assert settings.imported() == [f"{HERE}:Written"]
    assert settings.user_code() == []  # who shows the numbers does not enter them
    assert RunConfig.from_yaml(settings.to_yaml(), trust_code=True) == settings


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
    logger = logger_class("wandb")(folder, {"recipe": "digits"}, 0)
    logger.write("accuracy/anytime", 0.5, 64)
    logger.close()
    how, *rest = calls
    assert (how["project"], how["name"], how["group"]) == ("mine", "digits/ncm/1-x", "digits")
    assert how["resume"] == "allow"
    assert how["id"] == "digits-ncm-1-x"
    assert rest == [{"accuracy/anytime": 0.5, "samples_seen": 64}, "finish"]

"""Boards beside TensorBoard: one's own, and Weights & Biases."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.tracking.boards import Board, TensorBoard, WeightsAndBiases, board_class
from tests.experiments.commands import QUICK, run, summary

pytestmark = pytest.mark.slow


class Written(Board):
    """Writes what it is shown into a file of the run folder."""

    def __init__(self, folder: Path, start: int = 0) -> None:
        super().__init__(folder, start)
        self.shown: dict[str, Any] = {"scalars": [], "pictures": [], "histograms": []}

    def begin(self, settings: Mapping[str, Any], measure: str) -> None:
        self.shown |= {"strategy": settings["strategy"], "measure": measure}

    def scalar(self, tag: str, value: float, step: int) -> None:
        self.shown["scalars"].append([tag, step, float(value)])

    def picture(self, tag: str, figure: Figure, step: int) -> None:
        self.shown["pictures"].append(tag)

    def histogram(self, tag: str, counts: Any, step: int) -> None:
        self.shown["histograms"].append([tag, step, sum(counts)])

    def results(self, settings: Mapping[str, Any], final: Mapping[str, float], step: int) -> None:
        self.shown["final"] = dict(final)

    def close(self) -> None:
        (self.folder / "shown.json").write_text(json.dumps(self.shown))


class Broken(Board):
    """A service that is down."""

    remedy = ", or when it is up"

    def scalar(self, tag: str, value: float, step: int) -> None:
        raise ConnectionError("the service is down")


HERE = "tests.experiments.tracking.test_boards"
ER = ["digits", "strategy=er", "er.buffer_size=8", "seed=1", *QUICK]


def test_an_own_board_gets_what_tensorboard_gets(tmp_path: Path) -> None:
    code, (folder,) = run(tmp_path, *ER, f"tracker={HERE}:Written")
    assert code == 0
    shown = json.loads((folder / "shown.json").read_text())
    board = EventAccumulator(str(folder)).Reload()
    tags = board.Tags()
    told = {tag for tag, *_ in shown["scalars"]} | {f"final/{name}" for name in shown["final"]}
    assert told == set(tags["scalars"])
    for tag in {tag for tag, *_ in shown["scalars"]}:
        own = [(step, value) for name, step, value in shown["scalars"] if name == tag]
        other = [(event.step, event.value) for event in board.Scalars(tag)]
        assert np.array(own) == pytest.approx(np.array(other), rel=1e-6)  # these are float32
    assert set(shown["pictures"]) == set(tags["images"])
    assert {name for name, *_ in shown["histograms"]} == set(tags["histograms"])
    assert (shown["strategy"], shown["measure"]) == ("er", "accuracy")
    results = summary(folder)["results"]
    assert shown["final"] == {name: value for name, value in results.items() if value is not None}


def test_a_board_that_fails_ends_the_run_which_goes_on_without_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (folder,) = run(tmp_path, *ER, f"tracker={HERE}:Broken")
    assert code == 1
    said = capsys.readouterr().err
    assert "the tracker Broken failed (ConnectionError: the service is down)" in said
    assert "with tracker: null in its config.yaml without it, or when it is up" in said
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(f"{HERE}:Broken", "null"))
    assert main(["run", "--resume", str(folder), "--trust-code", "--quiet"]) == 0


def test_event_files_have_names_that_nobody_foresees(tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        TensorBoard(tmp_path).close()
        names |= {file.name.split(".")[-1] for file in tmp_path.iterdir()}
    assert len(names) == 2
    assert all(len(name) == 16 for name in names)


def test_a_tracker_is_declared_and_is_code_of_ones_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "digits", "strategy=ncm", f"tracker={HERE}:ER", "--quick"]) == 2
    assert "is no class derived from cl_prompts.experiments.tracking.boards.Board" in (
        capsys.readouterr().err
    )
    (settings,) = plan("digits", ["strategy=ncm", "seed=1", f"tracker={HERE}:Written"])
    assert settings.imported() == [f"{HERE}:Written"]
    assert settings.own_code() == []  # who shows the numbers does not enter them
    text = settings.to_yaml()
    assert Settings.from_yaml(text, trust_code=True) == settings


def test_a_run_resumed_elsewhere_goes_on_with_its_run_of_weights_and_biases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    class Library:
        Settings = dict

        @staticmethod
        def init(**how: Any) -> Any:
            begun.append(how["id"])
            return SimpleNamespace(define_metric=lambda *names, **more: None)

    monkeypatch.setitem(sys.modules, "wandb", Library)
    for later in ({}, {"resumed_with": [{"torch": "3"}], "sha256": "0"}, {"time": "another"}):
        about = json.dumps({"time": "one", "torch": "2", **later})
        (tmp_path / "environment.json").write_text(about)
        WeightsAndBiases(tmp_path).begin({"recipe": "digits"}, "accuracy")
    assert begun[0] == begun[1] != begun[2]


def test_weights_and_biases_keeps_the_same_tags_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    for name in ("wandb", ".wandb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings").write_text("[default]\nbase_url = http://localhost:1")
        with pytest.raises(InputError, match="wandb/settings in the current folder would decide"):
            board_class("wandb")
        shutil.rmtree(tmp_path / name)
    assert board_class("wandb") is WeightsAndBiases
    folder = tmp_path / "digits" / "ncm" / "1-x"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text("{}")
    (folder / "wandb").symlink_to(tmp_path)
    with pytest.raises(InputError, match="wandb is a link, through which nothing is written"):
        WeightsAndBiases(folder).begin({"recipe": "digits"}, "accuracy")
    (folder / "wandb").unlink()
    board = WeightsAndBiases(folder)
    board.begin({"recipe": "digits", "strategy": "ncm"}, "accuracy")
    board.scalar("accuracy/anytime", 0.53125, 64)
    figure = Figure()
    figure.subplots().plot([1, 2])
    board.picture("stream", figure, 64)
    board.histogram("buffer", [1, 2, 0], 128)
    board.results({}, {"a_auc": 0.71875}, 128)
    board.close()
    (file,) = folder.rglob("*.wandb")
    ends = time.monotonic() + 60
    while b"final/a_auc" not in file.read_bytes() and time.monotonic() < ends:
        time.sleep(0.1)  # its service writes in a process of its own
    kept = file.read_bytes()
    for text in ("accuracy/anytime", "0.53125", "samples_seen", "buffer", "final/a_auc", "0.71875"):
        assert text.encode() in kept
    assert list(folder.rglob("media/images/stream*.png"))

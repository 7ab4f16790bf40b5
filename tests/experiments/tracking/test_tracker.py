"""TensorBoard of a run agrees with its metrics.csv."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.datasets.items import HeldOutItems
from cl_prompts.datasets.transforms import PrivateRandom
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.run_folder.runs import collect
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.execution import execute
from cl_prompts.experiments.runner.interruption import StopRequest
from cl_prompts.experiments.tracking.progress import Display
from cl_prompts.experiments.tracking.tracker import Tracker
from cl_prompts.metrics.curve import Curve
from tests.experiments.commands import PROBE, rows, summary
from tests.few_images import few_images
from tests.toys import make


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
    events = EventAccumulator(str(mvp_run)).Reload()
    tags = events.Tags()
    assert {"stream", "class_accuracy", "keys"} <= set(tags["images"])
    assert {"prompt_usage", "buffer"} <= set(tags["histograms"] + tags["tensors"])


def test_one_a_auc_in_the_progress_line_the_table_and_tensorboard(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The stream does not end at an anytime point: its end is a point of its own.
    assert main(["run", "digits", *PROBE, "every=30", "--out", str(tmp_path)]) == 0
    told = capsys.readouterr().out.splitlines()
    (folder,) = (file.parent for file in tmp_path.rglob("summary.json"))
    auc = summary(folder)["results"]["a_auc"]
    (line,) = (
        line for line in told if line.startswith("run 1 of 1, linear_probe seed 3, finished")
    )
    assert line.endswith(f", A_AUC {100 * auc:.1f}")
    (section,) = sections(collect([folder]))
    assert section.table()["linear_probe"][0].text == f"{100 * auc:.1f} -"
    points = [float(r[3]) for r in rows(folder) if r[1:3] == ["anytime_accuracy", "seen"]]
    end = [float(r[3]) for r in rows(folder) if r[1:3] == ["task_end_accuracy", "seen"]][-1]
    assert auc == pytest.approx(sum([*points, end]) / (len(points) + 1), abs=1e-6)
    scalars = EventAccumulator(str(folder)).Reload().Scalars("accuracy/a_auc")
    assert scalars[-1].value == pytest.approx(auc, abs=1e-6)


def a_tracker(folder: Path, every: int | None, **of_run: int) -> tuple[Tracker, Any, list[Any]]:
    """A tracker without a run, the evaluations that it listens to, and the rows that it writes."""
    rows: list[Any] = []
    anytime = SimpleNamespace(
        listeners=[],
        evaluator=SimpleNamespace(multi_label=False, macs=0.0, images=0),
        every=every,
        curve=Curve(),
        new_classes=[],
        a_auc=0.5,
        by_domain=lambda evaluation: {},
    )
    anytime.course = (anytime.curve, anytime.new_classes)
    kept: Any = SimpleNamespace(path=folder, add_metrics=rows.extend)
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    return Tracker(kept, anytime, settings, **of_run), anytime, rows


def test_examples_show_the_views_that_are_scored(tmp_path: Path) -> None:
    tracking, anytime, _ = a_tracker(tmp_path, None, total=8, n_tasks=1)
    noisy = PrivateRandom(lambda image: image + 0.2 * torch.rand(3, 1, 1), seed=0)
    targets = torch.eye(6)

    class Noisy:
        def __getitem__(self, row: int) -> Any:
            return noisy(torch.full((3, 16, 16), 0.9)), targets[row]

    test = Noisy()
    scored = torch.stack([HeldOutItems(test, targets)[row][0] for row in range(6)])
    model = make("linear_probe", "mlcil").model
    model.observe_classes(targets)
    anytime.evaluator.rows = lambda seen: torch.arange(6)
    anytime.evaluator.targets = targets
    written: dict[str, Any] = {}
    tracking.folder.write_arrays = lambda name, **arrays: written.update(arrays)
    tracking.show_examples(model, test, ["class"] * 6)
    # Brighter than white is white.
    assert scored.max() > 1 > scored.min()
    wanted = (255 * scored.clamp(0, 1)).round()
    assert torch.equal(torch.from_numpy(written["images"]).float(), wanted)


def test_domains_are_in_files_and_in_tensorboard(tmp_path: Path) -> None:
    (settings,) = plan("digit_domains", ["strategy=ncm", "seed=1", "evaluation.every=10"])
    with few_images():
        parts = Builder().build(settings)
        folder = RunFolder.create(tmp_path / "run", settings, identity_of(parts), "")
        with Display(Console(quiet=True), 1).run(1, "run") as watcher:
            execute(parts, folder, request=StopRequest(), watcher=watcher)
    said = json.loads((folder.path / "summary.json").read_text())
    order = ["upright", "rotated", "inverted", "blurred"]
    assert said["domain_names"] == order
    found: dict[str, list[list[str]]] = {}
    for row in rows(folder.path):
        if row[2].startswith("domain:"):
            found.setdefault(row[1], []).append(row)
    ends = found["task_end_accuracy"]
    assert [row[2] for row in ends] == [
        f"domain:{name}" for n in range(1, 5) for name in sorted(order[:n])
    ]
    assert {row[2] for row in found["anytime_accuracy"]} == {f"domain:{name}" for name in order}
    last = {row[2].partition(":")[2]: float(row[3]) for row in ends[-4:]}
    assert said["accuracy_by_domain"] == last
    assert said["results"]["a_last_by_task"] == pytest.approx(np.mean(list(last.values())))
    board = EventAccumulator(str(folder.path)).Reload()
    for name, value in last.items():
        assert board.Scalars(f"domain_accuracy/{name}")[-1].value == pytest.approx(value)
    assert len(board.Scalars("domain_accuracy/blurred")) == 1

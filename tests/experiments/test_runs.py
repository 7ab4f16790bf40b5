"""Whole runs through the command line: results, resuming, interruption, faults, and every shipped
recipe."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.datasets import registry as datasets
from cl_prompts.datasets.readers import Source
from cl_prompts.experiments import runner
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipe_files import load_recipe, recipe_names
from cl_prompts.experiments.run_folder import RunFolder
from cl_prompts.experiments.settings import plan
from cl_prompts.strategies.base.online import OnlineStrategy

QUICK = ["classes=4", "n_tasks=3", "every=50", "online_iter=1"]


def run(tmp_path: Path, *arguments: str) -> tuple[int, list[Path]]:
    before = set(tmp_path.rglob("summary.json"))
    code = main(["run", *arguments, "--out", str(tmp_path), "--quiet"])
    return code, sorted(p.parent for p in set(tmp_path.rglob("summary.json")) - before)


def rows(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.reader(file))


def summary(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "summary.json").read_text())


@pytest.mark.parametrize("scenario", ["si_blurry", "i_blurry", "disjoint"])
def test_one_run_per_scenario(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["seed=2", "classes=4", "n_tasks=2", "every=100", "online_iter=2"]
    code, (folder,) = run(tmp_path, "digits_mvp", f"scenario={scenario}", *settings)
    assert code == 0
    said = summary(folder)
    assert (said["status"], said["scenario"], said["strategy"]) == ("finished", scenario, "mvp")
    assert 0.3 < said["results"]["a_auc"] <= 1
    assert said["results"]["a_last"] > 0.5  # real learning on real digits
    assert said["samples_seen"] == said["samples"] == said["task_ends"][-1]
    table = rows(folder)
    assert table[0] == ["samples_seen", "metric", "scope", "value"]
    names = {(r[1], r[2]) for r in table[1:]}
    assert {
        ("anytime_accuracy", "seen"),
        ("task_end_accuracy", "task:0"),
        ("loss", "train"),
        ("prompt_usage", "prompt:0"),
    } <= names
    anytime = [(int(r[0]), float(r[3])) for r in table if r[1:3] == ["anytime_accuracy", "seen"]]
    ends = [(int(r[0]), float(r[3])) for r in table if r[1:3] == ["task_end_accuracy", "seen"]]
    points = anytime + ([ends[-1]] if ends[-1][0] > anytime[-1][0] else [])
    assert said["results"]["a_auc"] == pytest.approx(np.mean([v for _, v in points]))
    assert said["results"]["a_last"] == pytest.approx(ends[-1][1])
    board = EventAccumulator(str(folder)).Reload()
    assert [e.step for e in board.Scalars("accuracy/anytime")] == [n for n, _ in anytime]
    assert [e.value for e in board.Scalars("accuracy/anytime")] == pytest.approx(
        [v for _, v in anytime], abs=1e-6
    )
    assert {"stream", "class_accuracy"} <= set(board.Tags()["images"])
    assert "prompt_usage" in board.Tags()["histograms"] + board.Tags()["tensors"]
    for name in (
        "config.yaml",
        "environment.json",
        "stream.json",
        "checkpoint.pt",
        "learned.safetensors",
    ):
        assert (folder / name).is_file()
    assert not (folder / ".lock").exists()
    assert list((tmp_path / "digits_mvp").glob("report-*.html"))
    assert "report:" in capsys.readouterr().out


def test_a_seed_fixes_a_run_and_seeds_differ(tmp_path: Path) -> None:
    _, (first,) = run(tmp_path / "a", "digits_mvp", "seed=1", *QUICK)
    _, (second,) = run(tmp_path / "b", "digits_mvp", "seed=1", *QUICK)
    _, (other,) = run(tmp_path / "c", "digits_mvp", "seed=2", *QUICK)
    assert rows(first) == rows(second)
    assert rows(first) != rows(other)


class Stop(Exception):
    """Raised in the middle of a run by the tests."""


def interrupt(monkeypatch: pytest.MonkeyPatch, at: int, error: type[BaseException]) -> None:
    original = OnlineStrategy._update

    def update(self: OnlineStrategy, *args: Any, **kwargs: Any) -> None:
        if self.samples_seen >= at:
            raise error
        original(self, *args, **kwargs)

    monkeypatch.setattr(OnlineStrategy, "_update", update)


@pytest.mark.parametrize(
    "recipe", ["digits_mvp", "digits_mvp_r", "digits_linear_probe", "digits_fine_tuning"]
)
def test_an_interrupted_run_resumes_to_the_same_numbers(
    recipe: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (whole,) = run(tmp_path / "whole", recipe, "seed=3", *QUICK)
    ends = summary(whole)["task_ends"]
    with monkeypatch.context() as patch:
        interrupt(patch, ends[1] + 20, KeyboardInterrupt)
        code, (folder,) = run(tmp_path / "cut", recipe, "seed=3", *QUICK)
    assert code == 130
    assert summary(folder)["status"] == "interrupted"
    assert "--resume" in capsys.readouterr().err
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    assert rows(folder) == rows(whole)
    mine, theirs = summary(folder), summary(whole)
    for key in ("results", "samples_seen", "task_ends"):
        assert mine[key] == theirs[key]
    assert mine["forward_passes"]["train"] == pytest.approx(theirs["forward_passes"]["train"])
    assert mine["status"] == "finished"
    assert main(["run", "--resume", str(folder), "--quiet"]) == 2
    assert "is finished: there is nothing to resume" in capsys.readouterr().err


def test_joint_runs_stand_in_one_report_with_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, folders = run(
        tmp_path, "digits", "strategy=linear_probe,joint", "seed=1", "joint.train_epochs=1", *QUICK
    )
    assert code == 0
    said = {f.parent.name: summary(f) for f in folders}
    assert said["joint"]["results"]["a_auc"] is None
    assert said["joint"]["results"]["forgetting"] is None
    assert said["joint"]["results"]["a_last"] > 0.5
    page = next(tmp_path.rglob("report-*.html")).read_text()
    assert "joint" in page
    # Interrupted between its checkpoint and its end, it is not trained again.
    (folder,) = [f for f in folders if f.parent.name == "joint"]
    (folder / "summary.json").write_text(json.dumps({**said["joint"], "status": "interrupted"}))
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    assert summary(folder)["samples_seen"] == said["joint"]["samples_seen"]
    assert summary(folder)["results"] == said["joint"]["results"]


def test_what_was_finished_before_an_interruption_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = runner.execute

    def second_fails(parts: Any, folder: RunFolder, **options: Any) -> None:
        if parts.settings.seed == 2:
            interrupt(monkeypatch, 0, KeyboardInterrupt)
        original(parts, folder, **options)

    monkeypatch.setattr(runner, "execute", second_fails)
    code, folders = run(tmp_path, "digits_linear_probe", "seed=1,2,3", *QUICK)
    told = capsys.readouterr()
    assert code == 130
    assert len(folders) == 2
    assert "report:" in told.out
    assert f"--resume {folders[-1]}" in told.err


def test_a_run_cut_before_its_first_boundary_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, 10, KeyboardInterrupt)
        run(tmp_path, "digits_linear_probe", "seed=1", *QUICK)
    (folder,) = [p.parent for p in tmp_path.rglob("summary.json")]
    assert main(["run", "--resume", str(folder), "--quiet"]) == 0
    _, (whole,) = run(tmp_path / "whole", "digits_linear_probe", "seed=1", *QUICK)
    assert rows(folder) == rows(whole)


def test_checkpoints_hold_tensors_and_plain_values_only(tmp_path: Path) -> None:
    _, (folder,) = run(tmp_path, "digits_mvp_r", "seed=1", *QUICK)
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    assert state["tasks_done"] == 3
    assert not any(k.startswith("backbone.") for k in state["strategy"]["model"])
    assert (folder / "learned.safetensors").stat().st_size < 500_000


def test_a_loss_that_is_not_a_number_ends_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, (folder,) = run(tmp_path, "digits_fine_tuning", "seed=1", "backbone_lr=1e20", *QUICK)
    assert code == 1
    told = capsys.readouterr().err.strip()
    assert "the loss became nan after" in told
    assert "\n" not in told
    assert summary(folder)["status"] == "failed"
    assert "the loss became" in summary(folder)["error"]


@pytest.fixture
def folder_data(tmp_path: Path) -> Path:
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 4)):
        for c, name in enumerate(("cat", "dog", "eel")):
            (tmp_path / "data" / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 80, (20, 24, 3)) + np.eye(3)[c] * 120
                Image.fromarray(pixels.astype(np.uint8)).save(
                    tmp_path / "data" / part / name / f"{i}.png"
                )
    return tmp_path / "data"


FOLDER = ["dataset=folder", "n_tasks=3", "every=10", "online_iter=1", "train_mb_size=4", "seed=1"]


def test_an_image_folder_runs_and_an_unreadable_image_is_named(
    folder_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = f"dataset.root={folder_data}"
    code, (folder,) = run(tmp_path / "a", "digits_linear_probe", where, *FOLDER)
    assert code == 0
    assert summary(folder)["class_names"] == ["cat", "dog", "eel"]
    (folder_data / "train" / "dog" / "3.png").write_bytes(b"not an image")
    capsys.readouterr()
    code, (folder,) = run(tmp_path / "b", "digits_linear_probe", where, *FOLDER)
    assert code == 1
    told = capsys.readouterr().err.strip()
    assert "3.png" in told
    assert "\n" not in told
    assert summary(folder)["status"] == "failed"


def test_with_loader_processes_a_bad_image_is_one_sentence_too(
    folder_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder_data / "train" / "dog" / "3.png").write_bytes(b"not an image")
    code, _ = run(
        tmp_path, "digits_linear_probe", f"dataset.root={folder_data}", "num_workers=1", *FOLDER
    )
    told = capsys.readouterr().err.strip()
    assert code == 1
    assert "3.png" in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["digits", "n_tasks=0"], "n_tasks must be a whole number from 1 to 10"),
        (["digits", "n_tasks=11"], "n_tasks must be a whole number from 1 to 10"),
        (
            ["digits", "disjoint_percent=101"],
            "disjoint_percent must be a whole number from 0 to 100",
        ),
        (["digits", "image_size=30"], "image size 30 is not a multiple of the 8 px patch"),
        (["digits", "weights=nowhere.pth"], "weight file nowhere.pth does not exist"),
        (["digits", "every=0"], "evaluation period is 0"),
        (["digits", "e_blocks=[7]"], "block 7, but this ViT has blocks 0 to 5"),
        (["digits", "batch_size=0"], "evaluation batch size is 0"),
        (["digits", "seed=99999999999999999999"], "below 2^63"),
        (["digits", "device=gpu9"], "device 'gpu9' is not available"),
        (["digits", "dataset=folder", "dataset.root=/nowhere"], "looked in /nowhere"),
        (["cifar100", "backbone=glyph_vit_tiny", "dataset.root=/nowhere"], "dataset.download=true"),
        (["dgits"], "unknown recipe 'dgits': did you mean 'digits'?"),
        ([], "give a recipe to run, or --resume FOLDER"),
    ],
)
def test_bad_input_ends_with_exit_code_2_before_anything_is_written(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "runs"
    assert main(["run", *arguments, "--out", str(out)]) == 2
    told = capsys.readouterr().err.strip()
    assert says in told
    assert "\n" not in told
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (
            ["digits_rainbow", "period=5000"],
            "rainbow does something every 5000 samples, and the stream has 1442: set rainbow.",
        ),
        (
            ["digits_er", "buffer_size=1442"],
            "er has room for 1442 samples, and the stream has 1442: nothing is ever given up",
        ),
        (["digits_rainbow", "period=5000", "boundaries=true"], None),
        (["digits"], None),
    ],
)
def test_settings_without_effect_on_this_stream_are_remarked_upon(
    arguments: list[str], says: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["validate", *arguments]) == 0
    told = capsys.readouterr().out
    assert (says in told) if says else ("note:" not in told)


def test_folders_in_use_and_foreign_folders_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, (folder,) = run(tmp_path, "digits_linear_probe", "seed=1", *QUICK)
    said = summary(folder)
    (folder / "summary.json").write_text(json.dumps({**said, "status": "running"}))
    holder, _ = RunFolder.resume(folder)
    assert main(["run", "--resume", str(folder)]) == 2
    assert "is being written by another process" in capsys.readouterr().err
    holder.close()
    assert main(["run", "--resume", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    settings = plan("digits_mvp", ["seed=1"])[0]
    with pytest.raises(ValueError, match="exists already"):
        RunFolder.create(folder, settings, "")


def fake_source(n_classes: int, side: int, *, several: bool) -> Source:
    """Random images, two for training and one for testing of each class; with ``several``, each
    shows the next class, too."""
    rng = np.random.default_rng(0)

    def images(n: int) -> torch.Tensor:
        return torch.from_numpy(
            rng.integers(0, 256, (n, 3, side, side + (side > 64) * 20), dtype=np.uint8)
        )

    train, test = np.arange(2 * n_classes) % n_classes, np.arange(n_classes)
    labels = [
        (np.eye(n_classes) + np.eye(n_classes, k=1))[part].astype(np.uint8) if several else part
        for part in (train, test)
    ]
    return Source(
        images(len(train)),
        labels[0],
        images(len(test)),
        labels[1],
        tuple(f"c{i}" for i in range(n_classes)),
    )


NATIVE = {
    "cifar100": (100, 32),
    "tiny_imagenet": (200, 64),
    "imagenet_r": (200, 160),
    "digits": (10, 32),
}
MULTI_LABEL = {"digit_scenes": (10, 32), "voc2007": (20, 150), "coco2014": (80, 150)}


@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_trains_and_evaluates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few training steps a task and evaluations, on images of the data set's native shape,
    through its own transforms."""
    dataset = load_recipe(name)["dataset"]["name"]
    n_classes, side = (NATIVE | MULTI_LABEL)[dataset]
    used = min(n_classes, 20)
    tasks = f"protocol=B0-C{used // 2}" if dataset in MULTI_LABEL else "n_tasks=2"
    quick = [
        "train_mb_size=400",
        "online_iter=1",
        "train_epochs=1",
        "num_workers=0",
        f"classes={used}",
    ]
    runs = plan(name, ["seed=1", "backbone=glyph_vit_tiny", "image_size=32", tasks, *quick])
    source = fake_source(n_classes, side, several=dataset in MULTI_LABEL)
    entry = replace(datasets.DATASETS[dataset], read=lambda folder, cache, **_: source, layout="")
    monkeypatch.setitem(datasets.DATASETS, dataset, entry)
    for settings in runs:
        parts = runner.Builder().build(settings)
        assert parts.data.train[0][0].shape == (3, 32, 32)
        folder = RunFolder.create(tmp_path / settings.strategy, settings, "")
        runner.execute(parts, folder, console=runner.Console(quiet=True))
        said = summary(folder.path)
        assert said["status"] == "finished"
        assert 0 <= said["results"]["map_last" if dataset in MULTI_LABEL else "a_last"] <= 1
        assert parts.strategy.samples_seen > 0


def test_the_library_prints_nothing_and_commands_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ls"]) == 0
    assert "glyph_vit_tiny" in capsys.readouterr().out
    assert main(["show", "digits_joint"]) == 0
    assert capsys.readouterr().out.startswith("# cl-prompts run digits_joint")
    assert main(["validate", "digits", "seed=1"]) == 0
    told = capsys.readouterr().out
    assert "3 runs (mvp, linear_probe, fine_tuning)" in told
    assert "away from home" in told

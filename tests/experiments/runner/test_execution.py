"""Whole runs through the command line: results, resuming, interruption and faults."""

import gc
from dataclasses import replace
from functools import cache, wraps
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from cl_prompts.datasets import registry as datasets
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.source import Source
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.recipe_files import load_recipe, recipe_names
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.task_loop import TaskLoop, complete
from cl_prompts.experiments.tracking.progress import Watcher
from cl_prompts.experiments.trained.card import read_card
from cl_prompts.scenarios.registry import SCENARIOS
from tests.experiments.commands import QUICK, run, summary, unfinished_copy
from tests.experiments.faults import contents
from tests.few_images import few_images

IN_RECIPES = {load_recipe(name)["scenario"]["name"] for name in recipe_names()}


@pytest.mark.parametrize("scenario", [name for name in SCENARIOS if name not in IN_RECIPES])
def test_one_run_per_scenario_without_a_recipe(
    scenario: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    several = SCENARIOS[scenario].multi_label
    quick = ["seed=2", "strategy=linear_probe", "train_epochs=1", "classes=4", "image_size=16"]
    recipe = "digit_scenes" if several else "digits"
    with few_images(train=30, test=10):
        code, (folder,) = run(tmp_path, recipe, f"scenario={scenario}", *quick, "n_tasks=2")
    assert code == 0
    said = summary(folder)
    assert (said["status"], said["scenario"]) == ("finished", scenario)
    assert said["n_tasks"] == len(said["task_ends"]) == 2
    assert said["samples_seen"] == said["samples"] == said["task_ends"][-1]
    assert said["results"]["map_last" if several else "a_last"] > 0.3
    assert capsys.readouterr().out == ""  # quiet


def test_what_was_finished_before_an_interruption_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], pages: None
) -> None:
    original = TaskLoop.train

    def second_stops(loop: TaskLoop, *how: Any) -> None:
        if loop.run.settings.seed == 2:
            raise KeyboardInterrupt
        original(loop, *how)

    monkeypatch.setattr(TaskLoop, "train", second_stops)
    code, folders = run(tmp_path, "digits", "strategy=linear_probe", "seed=1,2,3", *QUICK)
    assert code == 130
    assert [summary(folder)["status"] for folder in folders] == ["finished", "interrupted"]
    (page,) = (tmp_path / "digits").glob("report-*.html")
    assert "linear_probe" in page.read_text()
    assert f"--resume {tmp_path / 'digits'} --trust-code" in capsys.readouterr().err


def test_stale_files_of_a_killed_run_are_replaced(mvp_run: Path, tmp_path: Path) -> None:
    want = contents(mvp_run)
    folder = unfinished_copy(mvp_run, tmp_path / "copy")
    for name in ("model/model.safetensors", "stream.json", "model/model.json"):
        (folder / name).write_bytes(b"stale")
    assert main(["run", "--resume", str(folder), "--trust-code", "--quiet"]) == 0
    found = contents(folder)
    for name in ("metrics.csv", "stream.json", "stream.npz"):
        assert found[name] == want[name]
    weights = [f / "model" / "model.safetensors" for f in (folder, mvp_run)]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    cards = [read_card(f / "model") for f in (folder, mvp_run)]
    assert cards[0].calibration == cards[1].calibration


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Three classes of coloured noise, 12 training and 4 test images each."""
    rng = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 4)):
        for c, name in enumerate(("cat", "dog", "eel")):
            folder = tmp_path / "data" / part / name
            folder.mkdir(parents=True)
            for i in range(n):
                pixels = rng.integers(0, 80, (20, 24, 3)) + np.eye(3)[c] * 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i}.png")
    return tmp_path / "data"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_refused_skipped_or_named_when_it_is_met(
    workers: int,
    image_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    killed = []
    terminate = BaseProcess.terminate

    def noted(process: BaseProcess) -> None:
        killed.append(process)
        terminate(process)

    # So torch does with loader processes that have not ended after five seconds.
    monkeypatch.setattr(BaseProcess, "terminate", noted)
    (image_folder / "train" / "dog" / "3.png").write_bytes(b"not an image")
    small = ["n_tasks=3", "every=10", "online_iter=1", "train_mb_size=4", "seed=1"]
    where = ["dataset=folder", f"dataset.root={image_folder}", f"num_workers={workers}"]
    settings = ["strategy=linear_probe", *where, *small]
    assert run(tmp_path / "a", "digits", *settings) == (2, [])
    assert "3.png" in capsys.readouterr().err
    code, (folder,) = run(tmp_path / "b", "digits", *settings, "on_bad_image=skip")
    assert code == 0
    assert summary(folder)["class_names"] == ["cat", "dog", "eel"]
    capsys.readouterr()
    code, (folder,) = run(tmp_path / "c", "digits", *settings, "on_bad_image=defer")
    assert code == 1
    told = capsys.readouterr().err.strip()
    assert "3.png" in told
    assert "\n" not in told
    assert summary(folder)["status"] == "failed"
    gc.collect()
    assert not killed


@cache
def fake_source(n_classes: int, side: int, *, several: bool, domains: tuple[str, ...]) -> Source:
    """Random images, two for training and one for testing per class, or one for each per domain;
    with ``several``, each shows the next class, too."""
    rng = np.random.default_rng(0)
    width = side + (side > 64) * 20
    parts = []
    for times in (len(domains) or 2, len(domains) or 1):
        classes = np.arange(times * n_classes) % n_classes
        images = rng.integers(0, 256, (len(classes), 3, side, width), dtype=np.uint8)
        rows = (np.eye(n_classes) + np.eye(n_classes, k=1))[classes].astype(np.uint8)
        of_each = np.repeat(domains, n_classes) if domains else None
        labels = rows if several else classes
        parts.append(ImageSet(torch.from_numpy(images), labels, domains=of_each))
    return Source(parts, tuple(f"c{i}" for i in range(n_classes)))


NATIVE = {
    "cifar100": (100, 32),
    "tiny_imagenet": (200, 64),
    "imagenet_r": (200, 160),
    "digits": (10, 32),
    "folder": (20, 32),
    "digit_domains": (10, 32),
    "domainnet": (4, 150),
    "grocery": (81, 348),
}
#: of other recipes one strategy is enough: they change the data set
MOST = {"cifar100_published": None, "voc_b0_c4": None}
MULTI_LABEL = {"digit_scenes": (10, 32), "voc2007": (20, 150), "coco2014": (80, 150)}


@pytest.mark.slow
@pytest.mark.parametrize("name", recipe_names())
def test_every_shipped_recipe_trains_and_evaluates(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few training steps per task and evaluations, on images of the data set's native shape,
    through its own transforms."""
    dataset = load_recipe(name)["dataset"]["name"]
    n_classes, side = (NATIVE | MULTI_LABEL)[dataset]
    used = 4
    domains = tuple(load_recipe(name)["scenario"].get("domain_order", ()))
    several = dataset in MULTI_LABEL
    tasks = [] if domains else [f"protocol=B0-C{used // 2}" if several else "n_tasks=2"]
    short = ["train_mb_size=400", "online_iter=1", "train_epochs=1", "num_workers=0"]
    small = ["backbone=glyph_vit_tiny", "image_size=16", f"classes={used}"]
    source = fake_source(n_classes, side, several=several, domains=domains)
    entry = datasets.DATASETS[dataset]
    read = wraps(entry.read)(lambda folder, **_: source)
    entry = replace(entry, read=read, layout="")
    monkeypatch.setitem(datasets.DATASETS, dataset, entry)
    resources = Resources()
    for settings in plan(name, ["seed=1", *tasks, *short, *small])[: MOST.get(name, 1)]:
        built = build_run(settings, resources)
        assert built.data.train[0][0].shape == (3, 16, 16)
        place = tmp_path / settings.strategy
        complete(PlannedRun(place, settings), Watcher(), resources, built)
        said = summary(place)
        assert said["status"] == "finished"
        assert 0 <= said["results"]["map_last" if several else "a_last"] <= 1
        assert said["samples_seen"] > 0

"""Training of one run, task after task, with checkpoints when they are due."""

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.experiments.executors.signals import StopRequest
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.run_folder.identity import identity_of
from cl_prompts.experiments.runner import task_loop
from cl_prompts.experiments.runner.building import build_run
from cl_prompts.experiments.runner.run import Run
from cl_prompts.experiments.runner.task_loop import SHARE, TaskLoop
from cl_prompts.experiments.tracking.progress import Watcher
from tests.experiments.commands import summary
from tests.few_images import few_images

#: a tracker of a run that has written its losses
UNRECORDED: Any = SimpleNamespace(unwritten=list)


def test_the_total_counts_epochs_and_each_image_once_for_a_whole_stream(tmp_path: Path) -> None:
    totals = {}
    settings = ["strategy=linear_probe,joint", "seed=1", "train_epochs=2", "protocol=B0-C5"]
    for one in plan("digit_scenes", settings):
        run = build_run(one)
        totals[one.strategy] = (TaskLoop(run, RunFolder(tmp_path, "")).total, run)
    (of_tasks, run), (of_all, _) = totals["linear_probe"], totals["joint"]
    assert of_tasks == 2 * sum(run.split.sizes)
    assert of_all == 2 * len(run.data.train) < of_tasks


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[TaskLoop]:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1", "n_tasks=2"])
    with few_images():
        run = build_run(settings)
        with opened(tmp_path / "run", run) as folder:
            yield TaskLoop(run, folder)


def opened(place: Path, run: Run) -> AbstractContextManager[RunFolder]:
    return RunFolder.opened(place, run.settings, identity_of(run), "")


def test_a_resumed_process_restores_seconds_and_random_states(
    loop: TaskLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.restore()
    monkeypatch.setattr(loop, "seconds", lambda: 12_345.0)
    torch.rand(3)
    np.random.standard_normal(3)  # which keeps a fourth
    random.gauss()
    drawn = repr((torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()))
    tracker = loop.attach_tracker(None, Watcher())
    loop._save(tracker)
    tracker.close()
    folder = loop.folder
    again = TaskLoop(build_run(loop.run.settings), folder)
    again.restore()
    now = repr((torch.get_rng_state().tolist(), str(np.random.get_state()), random.getstate()))
    assert now == drawn
    assert 12_345 < again.seconds() < 2 * 12_345
    assert summary(folder.path)["seconds"] > 12_345


def test_the_end_is_saved(loop: TaskLoop) -> None:
    loop.run.settings.checkpoint_every = 99_999
    loop.restore()
    loop.train(UNRECORDED, StopRequest())
    assert (loop.folder.path / "checkpoint").is_file()


def test_checkpoints_are_due_by_samples_or_by_their_share_of_the_time(
    loop: TaskLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [7.0]
    monkeypatch.setattr(task_loop, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    strategy, settings = loop.run.strategy, loop.run.settings
    loop.restore()

    def due(samples: int, at: float) -> bool:
        strategy.samples_seen, now[0] = samples, at
        return loop._due()

    loop._saved = (40, 7.0, 2.0)
    assert [due(n, 8.9) for n in (41, 10**9)] == [False, False]  # samples say nothing
    assert due(41, 9.0)
    settings.checkpoint_every = 100
    assert [due(n, 1e9) for n in (41, 139, 140, 200)] == [False, False, True, True]
    settings.checkpoint_every = None
    clock = iter([10.0, 10.5])  # a checkpoint of half a second
    monkeypatch.setattr(loop, "seconds", lambda: 1.0)
    monkeypatch.setattr(task_loop.time, "perf_counter", lambda: next(clock))
    loop._save(UNRECORDED)
    assert loop._saved == (200, 10.5, 0.5 / SHARE)

"""Training of one run, task after task, with checkpoints when they are due."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from cl_prompts.backbones import ranks
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.interruption import Stopped, StopRequest
from cl_prompts.experiments.runner.task_loop import EACH, SHARE, CheckpointClock, TaskLoop
from tests.experiments.commands import summary
from tests.experiments.faults import contents
from tests.few_images import few_images


def test_the_total_counts_epochs_and_each_image_once_for_a_whole_stream(tmp_path: Path) -> None:
    builder = Builder()
    totals = {}
    settings = ["strategy=linear_probe,joint", "seed=1", "train_epochs=2", "protocol=B0-C5"]
    for run in plan("digit_scenes", settings):
        parts = builder.build(run)
        folder = RunFolder.create(tmp_path / run.strategy, run, "")
        totals[run.strategy] = (TaskLoop(parts, folder).total, parts)
        folder.close()
    (of_tasks, parts), (of_all, _) = totals["linear_probe"], totals["joint"]
    assert of_tasks == 2 * sum(parts.split.sizes)
    assert of_all == 2 * len(parts.data.train) < of_tasks


def test_the_end_of_a_run_is_told_and_written(tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    folder = RunFolder.create(tmp_path / "run", settings, "")
    loop = TaskLoop(Builder().build(settings), folder)
    assert loop.restore() is None
    assert loop.end("failed", "the sky fell") == "the sky fell"
    folder.close()
    written = summary(folder.path)
    assert (written["status"], written["error"]) == ("failed", "the sky fell")
    assert loop.macs()["evaluated"] == 0


def test_seconds_of_earlier_processes_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    folder = RunFolder.create(tmp_path / "run", settings, "")
    first = TaskLoop(Builder().build(settings), folder)
    first.restore()
    monkeypatch.setattr(first, "seconds", lambda: 12_345.0)
    first._save(None)
    folder.close()
    folder, settings = RunFolder.resume(folder.path)
    second = TaskLoop(Builder().build(settings), folder)
    second.restore()
    folder.close()
    assert 12_345 < second.seconds() < 2 * 12_345
    assert summary(folder.path)["seconds"] > 12_345


def test_a_rank_that_does_not_write_changes_no_file(tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1", "n_tasks=2"])
    folder = RunFolder.create(tmp_path / "run", settings, "")
    with few_images():
        writer = TaskLoop(Builder().build(settings), folder)
        writer.restore()
        other = TaskLoop(Builder().build(settings), RunFolder(folder.path, read_only=True))
        before = contents(folder.path)
        assert other.restore() is None
        other.train(None, StopRequest())
        assert other.tasks_done == 2
        assert contents(folder.path) == before
        writer.train(None, StopRequest())
        before = contents(folder.path)
        again = TaskLoop(Builder().build(settings), RunFolder(folder.path, read_only=True))
        assert again.restore() == {}
        assert again.tasks_done == 2
        assert contents(folder.path) == before
    folder.close()


def test_a_signal_that_comes_during_the_exchange_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    folder = RunFolder.create(tmp_path / "run", settings, "")
    loop = TaskLoop(Builder().build(settings), folder)
    folder.close()
    request = StopRequest()

    def exchange(*numbers: int) -> list[int]:
        request.number = signal.SIGTERM
        return list(numbers)

    monkeypatch.setattr(ranks, "highest", exchange)
    assert not loop._agreed(request)
    loop._stop()  # nothing was agreed: the other ranks go on, too
    assert loop._agreed(request)
    with pytest.raises(Stopped, match="stopped after 0 samples"):
        loop._stop()


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_interval_counts_samples_from_the_last_checkpoint() -> None:
    clock = CheckpointClock(100, samples=40)
    assert [clock.due(n) for n in (41, 139, 140, 200)] == [False, False, True, True]
    clock.saved(140, seconds=1000.0)
    assert [clock.due(n) for n in (239, 240)] == [False, True]


def test_without_an_interval_checkpoints_take_a_small_share_of_the_time() -> None:
    seconds = Seconds()
    clock = CheckpointClock(clock=seconds)
    seconds.now = 1.9
    assert not clock.due(10**9)  # samples say nothing
    seconds.now = 2.0
    assert clock.due(1)
    seconds.now = 2.5
    clock.saved(1, seconds=0.5)
    seconds.now = 2.5 + 0.5 / SHARE - 0.1
    assert not clock.due(2)
    seconds.now += 0.1
    assert clock.due(2)


def test_the_first_tasks_are_each_saved_and_later_ones_when_it_is_due() -> None:
    seconds = Seconds()
    clock = CheckpointClock(clock=seconds)
    assert [clock.due_after_task(0, tasks) for tasks in (1, EACH, EACH + 1)] == [True, True, False]
    seconds.now = 2.0
    assert clock.due_after_task(0, EACH + 1)

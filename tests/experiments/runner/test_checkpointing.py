"""When a checkpoint is due."""

from __future__ import annotations

from cl_prompts.experiments.runner.checkpointing import EACH, SHARE, CheckpointClock


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

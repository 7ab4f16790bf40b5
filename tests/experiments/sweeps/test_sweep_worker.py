"""A process of a sweep outlives neither its jobs nor the sweep; messages load nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.sweeps.sweep_launcher import CONTEXT
from cl_prompts.experiments.sweeps.sweep_worker import (
    Advanced,
    Ended,
    Job,
    MessageQueue,
    Noted,
    work,
)
from tests.experiments.commands import QUICK, summary


@pytest.mark.slow
def test_a_worker_whose_sweep_dies_saves_its_run_and_ends(tmp_path: Path) -> None:
    (quick,) = plan("digits", ["strategy=ncm", "seed=1", "classes=2", "n_tasks=1"])
    (long,) = plan("digits", ["strategy=mvp", "seed=1", *QUICK, "train_epochs=500"])
    mine, its = CONTEXT.Pipe()
    process = CONTEXT.Process(target=work, args=(its, 1))
    process.start()
    its.close()
    mine.send(Job(PlannedRun(tmp_path / "quick", quick), "a command", ["seed"]))
    first = mine.recv()
    assert isinstance(first, Advanced)
    assert first.samples == 0
    last = first
    while not isinstance(message := mine.recv(), Ended):
        last = message
    assert message == Ended()
    assert last.samples == last.total == first.total > 0
    assert last.a_auc is not None
    assert summary(tmp_path / "quick")["command"] == "a command"
    mine.send(Job(PlannedRun(tmp_path / "long", long), "a command", []))
    while not mine.recv().samples:
        pass
    mine.close()  # as the system does for a process that was killed
    process.join()
    assert process.exitcode == 0
    assert summary(tmp_path / "long")["status"] == "interrupted"
    assert (
        0 < summary(tmp_path / "long")["samples_seen"] < 500 * summary(tmp_path / "long")["samples"]
    )


def test_only_what_may_have_broken_the_process_ends_it() -> None:
    assert not Ended().last
    assert not Ended("the disk is full").last
    assert Ended("ValueError: x", "Traceback").last
    assert Ended("stopped by signal 15", stopped=True).last


def test_messages_are_taken_once_in_order() -> None:
    messages = MessageQueue()
    first = Noted("goes on")
    second = Advanced(1, 10, None)
    messages.put(2, first)
    messages.put(1, second)
    assert messages.take() == [(2, first), (1, second)]
    assert messages.take() == []


def test_messages_load_no_torch() -> None:
    code = (
        "import sys, cl_prompts.experiments.sweeps.sweep_worker;"
        "print([name for name in ('torch', 'avalanche', 'timm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

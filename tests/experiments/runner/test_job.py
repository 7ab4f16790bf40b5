"""Processes that torchrun has started, told by their environment."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import warnings

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.runner.interruption import stop_requests
from cl_prompts.experiments.runner.job import (
    is_first_to_say,
    job,
    launched,
    quieten_libraries,
    refuse_job,
)


@pytest.fixture
def under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")


def test_a_process_on_its_own_leads() -> None:
    assert not launched()
    with job() as leads:
        assert leads
    refuse_job("report")


@pytest.mark.usefixtures("under_torchrun")
def test_commands_for_one_process_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert launched()
    refuse_job("run")
    with pytest.raises(InputError, match="cl-prompts sweep is for one process"):
        refuse_job("sweep")
    assert main(["ls"]) == 2
    assert "start it without torchrun" in capsys.readouterr().err


@pytest.mark.usefixtures("under_torchrun")
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("WORLD_SIZE", "x", "WORLD_SIZE is 'x' in the environment, and should be a whole number"),
        ("WORLD_SIZE", "9" * 5000, "WORLD_SIZE is '9999"),
        ("RANK", "-1", "RANK is '-1'"),
        ("RANK", "2", "RANK is 2 of WORLD_SIZE=2 in the environment: ranks count from 0"),
        ("MASTER_ADDR", None, "MASTER_ADDR is '' in the environment, and should be the address"),
        ("MASTER_PORT", "99999", "MASTER_PORT is 99999 in the environment, and should be at most"),
        ("MASTER_PORT", None, "MASTER_PORT is '' in the environment"),
        ("LOCAL_RANK", "x", "LOCAL_RANK is 'x'"),
    ],
)
def test_what_torchrun_would_not_have_left_is_refused(
    name: str, value: str | None, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=said):
        refuse_job("run")


@pytest.mark.usefixtures("under_torchrun")
def test_what_cannot_be_found_out_is_said() -> None:
    assert is_first_to_say("there is no store")


@pytest.mark.usefixtures("under_torchrun")
def test_a_signal_that_comes_twice_asks_once() -> None:
    with stop_requests() as request:
        for _ in range(2):  # from a scheduler, and from torchrun
            os.kill(os.getpid(), signal.SIGTERM)
            assert request.number == signal.SIGTERM


def test_only_what_nobody_can_change_is_silenced() -> None:
    with warnings.catch_warnings(record=True) as shown:
        warnings.simplefilter("always")
        quieten_libraries()
        warnings.warn("no QP solver found on your system", stacklevel=1)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
        warnings.warn("the learning rate is odd", stacklevel=1)
    assert [str(warning.message) for warning in shown] == ["the learning rate is odd"]


KEPT = """
from pathlib import Path
import resource
from cl_prompts.experiments.runner.job import give_freed_memory_back, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        b"x" * 2**26  # 64 MiB, more than glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

print(faults())
keep_freed_memory()
print(faults())
print(resident())
give_freed_memory_back()
print(resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_memory_is_kept_for_the_next_batch_and_given_back_after_a_run() -> None:
    said = subprocess.check_output([sys.executable, "-c", KEPT], text=True)
    before, kept, held, left = map(int, said.split())
    assert kept < before / 5  # the first one alone is new
    assert held - left > 60 * 2**20

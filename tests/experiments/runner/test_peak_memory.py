"""Peak of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl_prompts.experiments.runner import peak_memory
from cl_prompts.experiments.runner.peak_memory import (
    peak_device_memory_mb,
    peak_memory_mb,
    reset_peak_memory,
)

CPU = torch.device("cpu")


def test_the_peak_is_that_of_the_process() -> None:
    assert 50 < peak_memory_mb() < 1e6


def test_what_is_held_for_a_moment_counts() -> None:
    reset_peak_memory(CPU)
    start = peak_memory_mb()
    big = torch.ones(100 * 2**18)
    del big
    assert peak_memory_mb() >= start + 90


def test_what_was_freed_before_is_no_peak_of_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_STATUS", "_CLEAR"):
        monkeypatch.setattr(peak_memory, name, tmp_path / name)
    (tmp_path / "_STATUS").write_text("Name:\tpython\nVmHWM:\t  2048 kB\n")
    reset_peak_memory(CPU)
    assert (tmp_path / "_CLEAR").read_text() == "5"
    assert peak_memory_mb() == 2.0
    # A kernel without either: the peak of the whole process.
    for name in ("_STATUS", "_CLEAR"):
        monkeypatch.setattr(peak_memory, name, tmp_path / "nowhere" / name)
    reset_peak_memory(CPU)
    assert peak_memory_mb() > 50


def test_only_a_gpu_has_a_peak_of_its_own() -> None:
    assert peak_device_memory_mb(CPU) is None

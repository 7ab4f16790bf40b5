"""Memory that is freed stays with the process, unless the user says otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from cl_prompts.experiments import allocator
from cl_prompts.experiments.allocator import VARIABLES, give_back_freed_memory, keep_freed_memory

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="for glibc")

COUNTS = """
import resource
from pathlib import Path
import numpy as np
from cl_prompts.experiments.allocator import give_back_freed_memory, keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        one, two = np.ones(2_500_000), np.ones(2_500_000)  # 20 MB each
        del one, two
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1])

faults()
print(faults(), keep_freed_memory())
faults()
print(faults(), resident())
give_back_freed_memory()
print(resident())
"""


@glibc
def test_pages_are_not_cleared_again_and_again() -> None:
    plain = {name: value for name, value in os.environ.items() if name not in VARIABLES}
    plain["NUMPY_MADVISE_HUGEPAGE"] = "0"
    command = [sys.executable, "-c", COUNTS]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    first, second, third = (line.split() for line in done.stdout.splitlines())
    pages = 2 * 20_000_000 // 4096
    assert first[1] == "True"
    assert int(second[0]) < pages < int(first[0])
    assert int(second[1]) - int(third[0]) > 0.9 * pages


@glibc
@pytest.mark.parametrize("name", VARIABLES)
def test_variables_of_the_user_come_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1000000")
    assert not keep_freed_memory()


def test_with_another_library_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.platform, "libc_ver", lambda: ("", ""))
    assert not keep_freed_memory()
    give_back_freed_memory()

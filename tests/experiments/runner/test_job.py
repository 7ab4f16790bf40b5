"""Settings of the process of a command."""

from __future__ import annotations

import platform
import subprocess
import sys
import warnings

import pytest

from cl_prompts.experiments.runner.job import quieten_libraries


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

"""Run code in a forked process, which need not import everything again."""

import gc
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code, and all that it wrote."""

    code: int
    out: str
    err: str


def forked(work: Callable[[], int]) -> Outcome:
    """Do some work in a fork of this process; what it returns is the exit code."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        # A session of ONNX Runtime that ends in a fork waits for threads that are not there.
        gc.collect()
        pid = os.fork()
        if pid == 0:
            _be(work, out.fileno(), err.fileno())
        _, status = os.waitpid(pid, 0)
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode())
    return Outcome(os.waitstatus_to_exitcode(status), *told)


def _be(work: Callable[[], int], out: int, err: int) -> None:
    code = 70
    try:
        os.dup2(out, 1)
        os.dup2(err, 2)
        # What pytest put in their place is not looked at.
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

"""The command line in processes of its own, with a fault at a chosen step of their writing.

Every process is a fork of this one, which has imported everything: a run takes half a second then,
and not six. What it is told, what it says and how it ends are those of ``cl-prompts``.
"""

from __future__ import annotations

import errno
import gc
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NoReturn

import torch
from torch.utils.tensorboard import SummaryWriter

from cl_prompts.__main__ import main
from cl_prompts.experiments.runner.interruption import SIGNALS
from cl_prompts.experiments.sweeps import sweep_launcher
from tests.experiments.sketches import sketched

#: what the interpreter tells its audit hooks of, each with a path
_AUDITED = {"os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir"}
_NAMES = {"os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}
NOTHING: Mapping[str, str] = MappingProxyType({})
Kind = Literal["killed before", "killed half-way", "full"]


@dataclass(frozen=True)
class Fault:
    """What happens to a process at one step of its writing.

    A step is a file opened for writing, a write, a sync, a rename, a removal, a folder made or a
    file cut, below a folder and in the main thread. On a full disk every byte more than what is
    removed fails from that step on, as on a real one.

    Attributes:
        kind: of fault.
        at: the step, counted from 0.
    """

    kind: Kind
    at: int


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Attributes:
        code: its exit code, negative for the signal that killed it.
        said: all of its standard error.
        steps: the steps of its writing, if they were counted.
        seconds: how long it took.
    """

    code: int
    said: str
    steps: tuple[str, ...]
    seconds: float

    @property
    def killed(self) -> bool:
        """Whether it was killed."""
        return self.code == -signal.SIGKILL

    @property
    def sentence(self) -> bool:
        """Whether it was refused, or failed, with one sentence."""
        lines = self.said.strip().splitlines()
        return self.code in (1, 2) and len(lines) == 1 and lines[0].startswith("cl-prompts: ")


class Process:
    """A command that is under way.

    Args:
        arguments: of ``cl-prompts``.
        root: folder below which steps are counted.
        fault: at one of them.
        count: whether to note the steps.
        most_bytes: size that no file may exceed (RLIMIT_FSIZE).
        pages: whether pictures and reports are made; they take longer than the runs.
        environment: variables besides those of this process.
    """

    def __init__(
        self,
        arguments: list[str],
        root: Path,
        *,
        fault: Fault | None = None,
        count: bool = False,
        most_bytes: int | None = None,
        pages: bool = False,
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        # A pipe, since a limit on files is not to hold for what is said.
        self._said, told = os.pipe()
        self._begun, begun = os.pipe()
        self._steps = tempfile.TemporaryFile()  # noqa: SIM115  # closed by wait
        self._started = time.perf_counter()
        sys.stdout.flush()
        sys.stderr.flush()
        gc.freeze()  # what is imported is no garbage of the command
        self.pid = os.fork()
        if self.pid == 0:
            os.dup2(told, 2)
            self._told_of_its_begin = begun
            os.environ.update(environment)
            with nullcontext() if pages else sketched():
                self._be(arguments, root, fault, count, most_bytes, pages)
        os.close(told)
        os.close(begun)

    def _be(
        self,
        arguments: list[str],
        root: Path,
        fault: Fault | None,
        count: bool,
        most_bytes: int | None,
        pages: bool,
    ) -> NoReturn:
        """Be the command, and end."""
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            # What pytest put in their place is not what is read.
            sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
            sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115
            torch.set_num_threads(1)
            if not pages:
                SummaryWriter.add_image = lambda *given, **options: None  # type: ignore[method-assign]
            if most_bytes is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
            # Of a sweep; as quick as the other processes here.
            sweep_launcher.CONTEXT = multiprocessing.get_context("fork")  # type: ignore[assignment]
            steps = _Steps(root, fault) if fault is not None or count else None
            code = self._command(arguments)
            if steps is not None:
                steps.stop()
                self._steps.write(json.dumps(steps.names).encode())
                self._steps.flush()
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    def _command(self, arguments: list[str]) -> int:
        """Do what the process of ``cl-prompts`` does, from the moment that it meets signals."""
        sys.argv = ["cl-prompts", *arguments]
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(self._told_of_its_begin, b"!")
        return main()

    def kill_after(self, seconds: float, number: int = signal.SIGKILL) -> None:
        """Send it a signal in a while after its begin, if it is still there then."""
        os.read(self._begun, 1)
        time.sleep(seconds)
        os.kill(self.pid, number)  # it is a zombie at least: nobody has waited for it

    def wait(self) -> Outcome:
        """Wait for its end."""
        with os.fdopen(self._said, errors="replace") as pipe:
            said = pipe.read()
        os.close(self._begun)
        _, status = os.waitpid(self.pid, 0)
        seconds = time.perf_counter() - self._started
        with self._steps as file:
            file.seek(0)
            steps = tuple(json.loads(file.read() or b"[]"))
        return Outcome(os.waitstatus_to_exitcode(status), said, steps, seconds)


def command(arguments: list[str], root: Path, **options: Any) -> Outcome:
    """Run a command to its end; see :class:`Process`."""
    return Process(arguments, root, **options).wait()


class _Steps:
    """Counter of the steps in which this process changes files, with a fault at one of them."""

    def __init__(self, root: Path, fault: Fault | None) -> None:
        self.names: list[str] = []
        self._root = str(root)
        self._fault = fault
        self._full = False
        self._room = 0  # bytes that were removed since the disk was full
        self._active = True
        self._write, self._fsync = os.write, os.fsync
        sys.addaudithook(self._audit)
        os.write = self._write_step  # type: ignore[assignment]
        os.fsync = self._fsync_step

    def stop(self) -> None:
        """Count no more."""
        self._active = False

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = args
            if not isinstance(flags, int) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif event in _AUDITED:
            path, mode = args[0], None
        else:
            return
        if isinstance(path, int) or not os.fsdecode(path).startswith(self._root):
            return
        # Files of Python are opened with a mode, and written where no hook sees it.
        grows = event == "os.mkdir" or mode is not None
        # What a file is called before it gets its name differs from one run to the next.
        name = re.sub(r"\.[0-9a-f]{16}\.tmp$", ".tmp", Path(os.fsdecode(path)).name)
        self._step(f"{_NAMES.get(event, event)} {name}", grows=grows)
        if self._full and event == "os.remove" and os.path.isfile(path):
            self._room += os.stat(path).st_size

    def _step(self, name: str, half: Callable[[], Any] | None = None, grows: bool = False) -> None:
        if not self._active or threading.current_thread() is not threading.main_thread():
            return
        here = self._fault is not None and len(self.names) == self._fault.at
        self.names.append(name)
        if here and self._fault is not None:
            if self._fault.kind == "full":
                self._full = True
            else:
                if half is not None and self._fault.kind == "killed half-way":
                    half()
                os.kill(os.getpid(), signal.SIGKILL)
        if grows and self._full and self._room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name.partition(" ")[2])

    def _write_step(self, handle: int, data: Any) -> int:
        self._step("write", lambda: self._write(handle, bytes(data)[: len(data) // 2]))
        if not self._full:
            return self._write(handle, data)
        if self._room <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = self._write(handle, bytes(data)[: self._room])
        self._room -= written
        return written

    def _fsync_step(self, handle: Any) -> None:
        self._step("sync")
        self._fsync(handle)

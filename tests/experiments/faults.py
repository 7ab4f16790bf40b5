"""Kills and full disks at every single step that a run folder writes in."""

import errno
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest

from cl_prompts.experiments.run_folder import files

STEPS = ("write", "append", "sync", "rename")
Fault = Literal["killed before", "killed half-way", "full"]


class Killed(BaseException):
    """End of the process, which no code may catch."""


def count_steps(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Any]) -> int:
    taken = []
    with monkeypatch.context() as patch:
        for name in STEPS:
            original = getattr(files, name)

            def step(*args: Any, original: Any = original) -> None:
                taken.append(original)
                original(*args)

            patch.setattr(files, name, step)
        action()
    return len(taken)


def with_fault(
    monkeypatch: pytest.MonkeyPatch, at: int, fault: Fault, action: Callable[[], Any]
) -> None:
    """Run an action with a fault in its step ``at``, counted from 0. A disk that is full stays
    so."""
    n = 0
    with monkeypatch.context() as patch:
        for name in STEPS:
            original = getattr(files, name)

            def step(*args: Any, name: str = name, original: Any = original) -> None:
                nonlocal n
                n += 1
                if n <= at:
                    original(*args)
                elif fault == "full":
                    if name != "rename":
                        _half(name, original, args)
                        raise OSError(errno.ENOSPC, "No space left on device", str(args[0]))
                    original(*args)
                else:
                    if fault == "killed half-way":
                        _half(name, original, args)
                    raise Killed(f"in step {at}, {name}")

            patch.setattr(files, name, step)
        with suppress(Killed):
            action()


def _half(name: str, original: Any, args: tuple[Any, ...]) -> None:
    """Half of what a write would have written; nothing of other steps."""
    if name == "write":
        data = b"".join(args[1])
        original(args[0], [data[: len(data) // 2]])
    elif name == "append":
        original(args[0], args[1][: len(args[1]) // 2])


def contents(folder: Path) -> dict[str, bytes]:
    """Files of a folder, but hidden ones."""
    return {f.name: f.read_bytes() for f in folder.iterdir() if f.is_file() and f.name[0] != "."}

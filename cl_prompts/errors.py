"""The two ways in which cl-prompts says no."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

_LISTED = 40  # names that one sentence may hold
_LONGEST = 100  # characters of a name that it repeats


class InputError(ValueError):
    """Bad input, found before any work was done: one sentence that says what is wrong, where, and
    what would be right.

    The command line prints the sentence and ends with exit code 2.
    """


class RunError(RuntimeError):
    """A fault met during a run, in one sentence; the run folder stays valid. Exit code 1 on the
    command line."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An ``InputError`` for a name of some kind ("recipe", "key of strategy 'mvp'") that does not
    exist, offering the nearest one of those ``known``."""
    names = sorted(set(map(str, known)))
    name = name if len(name) <= _LONGEST else f"{name[:_LONGEST]}..."
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    some = (
        names if len(names) <= _LISTED else [*names[:_LISTED], f"and {len(names) - _LISTED} more"]
    )
    hint = f"did you mean {near[0]!r}?" if near else "there is " + (", ".join(some) or "none")
    return InputError(f"unknown {kind} {name!r}: {hint}")

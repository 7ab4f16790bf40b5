"""The two ways in which cl-prompts says no."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

_LISTED = 40  # names that one sentence may hold
_MOST = 980  # characters of a sentence
#: what a loader process puts before the sentence of an error
_OF_LOADER = re.compile(r"\ACaught \w+ in .*\n[\w.]*Error: ", re.DOTALL)


def short(text: object, most: int = 160) -> str:
    """Return a text such as a path for a sentence, cut in the middle where it is long.

    >>> short("runs/digits"), len(short("x" * 5000))
    ('runs/digits', 160)
    """
    text = str(text)
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - half]}...{text[-half:]}"


def first_of(texts: Iterable[object], most: int, between: str = ", ") -> str:
    """Return the first of some texts, and how many more there are.

    >>> first_of([1, 2, 3, 4], 2), first_of([1, 2], 2)
    ('1, 2 and 2 more', '1, 2')
    """
    words = list(map(str, texts))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def all_of(texts: Iterable[object], word: str = "and") -> str:
    """Return some texts, of which there is at least one, with a word in front of the last.

    >>> all_of([1, 2, 3]), all_of("ab", "or"), all_of([1])
    ('1, 2 and 3', 'a or b', '1')
    """
    *most, last = map(str, texts)
    return f"{', '.join(most)} {word} {last}" if most else last


def one_sentence(message: object) -> str:
    """Return a message as one line of bounded length.

    >>> one_sentence("two\\nlines")
    'two lines'
    """
    return short(" ".join(_OF_LOADER.sub("", str(message)).split()), _MOST)


class _Sentence(Exception):
    """An error whose message is one sentence, whatever names stand in it."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_sentence(message))


class InputError(_Sentence, ValueError):
    """Bad input, found before any work was done: one sentence that says what is wrong, where, and
    what would be right.

    The command line prints the sentence and ends with exit code 2.
    """


class RunError(_Sentence, RuntimeError):
    """A fault met during a run, in one sentence; the run folder stays valid. Exit code 1 on the
    command line."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return an ``InputError`` for a name of some kind ("recipe", "key of strategy 'mvp'") that
    does not exist, offering the nearest one of those ``known``."""
    names = sorted(set(map(str, known)))
    near = difflib.get_close_matches(name, names, n=1)
    near = near or [one for one in names if name and one.lower().startswith(name.lower())]
    some = (
        names if len(names) <= _LISTED else [*names[:_LISTED], f"and {len(names) - _LISTED} more"]
    )
    hint = f"did you mean {near[0]!r}?" if near else "there is " + (", ".join(some) or "none")
    return InputError(f"unknown {kind} {short(name, 100)!r}: {hint}")

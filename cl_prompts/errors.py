"""Errors whose message is one sentence, and helpers for such messages."""

import difflib
import re
from collections.abc import Iterable

_LISTED = 20  # names in a message
_MOST = 980  # characters of a message
#: usual names of settings, and their names here
MEANT = {
    "learning_rate": "lr",
    "epochs": "train_epochs",
    "batch_size": "train_mb_size",
    "mem_size": "buffer_size",
    "memory_size": "buffer_size",
    "batch_size_mem": "buffer_batch_size",
}
#: prefix that a loader process adds to an error
_OF_LOADER = re.compile(r"\ACaught \w+ in .*\n[\w.]*Error: ", re.DOTALL)


def short(text: object, most: int = 160) -> str:
    """Shorten a long text, such as a path, in the middle.

    >>> short("runs/digits"), len(short("x" * 5000))
    ('runs/digits', 160)
    """
    text = str(text)
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - half]}...{text[-half:]}"


def first_of(texts: Iterable[object], most: int, between: str = ", ") -> str:
    """Join the first texts, and add how many more there are.

    >>> first_of([1, 2, 3, 4], 2), first_of([1, 2], 2)
    ('1, 2 and 2 more', '1, 2')
    """
    words = list(map(str, texts))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def all_of(texts: Iterable[object], word: str = "and") -> str:
    """Join texts, at least one, with a word before the last.

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
    """Error whose message is one line of bounded length."""

    def __init__(self, message: object = "") -> None:
        super().__init__(one_sentence(message))


class InputError(_Sentence, ValueError):
    """Bad input, found before any work: what is wrong, where, and what to do.

    The command line prints the message and ends with exit code 2.
    """


class RunError(_Sentence, RuntimeError):
    """Fault during a run; the run folder stays valid. Exit code 1 on the command line."""


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return an ``InputError`` for an unknown name, with the nearest known one.

    Args:
        kind: of name ("recipe", "key of strategy 'mvp'").
        name: the unknown name.
        known: all names.
    """
    names = sorted(set(map(str, known)))
    meant = {usual: own for usual, own in MEANT.items() if own in names}
    near = [meant.get(one, one) for one in difflib.get_close_matches(name, [*names, *meant], n=1)]
    near = near or [one for one in names if name and one.lower().startswith(name.lower())]
    choices = f"choose from {first_of(names, _LISTED)}" if names else "there is none"
    hint = f"did you mean {near[0]!r}?" if near else choices
    return InputError(f"unknown {kind} {short(name, 100)!r}: {hint}")

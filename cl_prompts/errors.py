"""The two ways in which cl-prompts says no."""

from __future__ import annotations

import difflib
import re
import shlex
import unicodedata
from collections.abc import Iterable
from typing import TextIO

_LISTED = 40  # names that one sentence may hold
_LONGEST = 100  # characters of a name that it repeats
_MOST = 980  # characters of a sentence
_TYPED = 240  # characters of a path in a command
_FEW = 4  # letters of a short name
_WORD = re.compile(r"\S{321,}")  # no path in use is longer
#: what a loader process puts before the sentence of an error
_OF_LOADER = re.compile(r"\ACaught \w+ in .*\n[\w.]*Error: ", re.DOTALL)


def short(text: object, most: int = 160) -> str:
    """A text such as a path for a sentence, cut in the middle where it is long.

    >>> short("runs/digits"), len(short("x" * 5000))
    ('runs/digits', 160)
    """
    text = str(text)
    half = (most - 3) // 2
    return text if len(text) <= most else f"{text[: most - 3 - half]}...{text[-half:]}"


def first_of(texts: Iterable[object], most: int, between: str = ", ") -> str:
    """The first of some texts, and how many more there are.

    >>> first_of([1, 2, 3, 4], 2), first_of([1, 2], 2)
    ('1, 2 and 2 more', '1, 2')
    """
    words = list(map(str, texts))
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return between.join(words[:most]) + more


def all_of(texts: Iterable[object], word: str = "and") -> str:
    """Some texts, of which there is at least one, with a word in front of the last.

    >>> all_of([1, 2, 3]), all_of("ab", "or"), all_of([1])
    ('1, 2 and 3', 'a or b', '1')
    """
    *most, last = map(str, texts)
    return f"{', '.join(most)} {word} {last}" if most else last


def one_sentence(message: object) -> str:
    """A message as one line that any terminal and file can hold: of bounded length, long words cut,
    and what is not printable written as Python escapes it.

    >>> one_sentence("two\\nlines \\x1b[31m")
    'two lines \\\\x1b[31m'
    """
    text = " ".join(printable(_OF_LOADER.sub("", str(message))).split())
    text = _WORD.sub(lambda found: short(found[0]), text)
    # A cut in the middle could take one quotation mark of a command, and turn the others round.
    if len(text) > _MOST and "'" in text:
        return f"{text[: _MOST - 3]}..."
    return short(text, _MOST)


def typed(path: object) -> str:
    """A path as it is typed in a shell, for a sentence with a command; ``FOLDER`` where the
    sentence would not hold it as it is.

    >>> typed("my runs/digits"), typed("x" * 5000)
    ("'my runs/digits'", 'FOLDER')
    """
    text = str(path)
    quoted = shlex.quote(text)
    whole = len(quoted) <= _TYPED and text.isprintable() and " ".join(text.split()) == text
    return quoted if whole else "FOLDER"


def printable(text: str) -> str:
    """A text for a terminal, which must not obey what stands in names: control characters and the
    like but for line breaks and tabs written as Python escapes them.

    >>> printable("two\\nlines \\x1b[31m")
    'two\\nlines \\\\x1b[31m'
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or _is_space(c) else ascii(c)[1:-1] for c in text)


def say(text: object, file: TextIO | None = None, end: str = "\n") -> None:
    """Print a text, to standard output unless a file is given, with what a terminal would obey
    escaped: all that this package prints without rich passes here.

    >>> say("loss \\x1b[31m")
    loss \\x1b[31m
    """
    print(printable(str(text)), file=file, end=end)


def unbroken(text: object) -> str:
    """A text that is one line, with line breaks of names in it written as Python escapes them.

    >>> unbroken("left out: a\\nb.png")
    'left out: a\\\\nb.png'
    """
    return str(text).replace("\n", "\\n")


def _is_space(character: str) -> bool:
    return character in "\n\t" or unicodedata.category(character) == "Zs"


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
    """An ``InputError`` for a name of some kind ("recipe", "key of strategy 'mvp'") that does not
    exist, offering the nearest one of those ``known``."""
    names = sorted(set(map(str, known)))
    name = short(name, _LONGEST)
    # Of a few letters any two words share half: such a name has to be a slip, or a beginning.
    likely = [near for near in names if len(name) > _FEW or _is_slip(name, near)]
    near = [one for one in names if one.lower() == name.lower()] or difflib.get_close_matches(
        name, likely, n=1, cutoff=0.6 if len(name) > _FEW else 0.5
    )
    some = (
        names if len(names) <= _LISTED else [*names[:_LISTED], f"and {len(names) - _LISTED} more"]
    )
    hint = f"did you mean {near[0]!r}?" if near else "there is " + (", ".join(some) or "none")
    return InputError(f"unknown {kind} {name!r}: {hint}")


def _is_slip(name: str, meant: str) -> bool:
    """Whether a name is the beginning of another, or one letter or a swap of two away from it.

    >>> [_is_slip(name, "norga") for name in ("nor", "norgi", "nogra", "lora")]
    [True, True, True, False]
    """
    if meant.startswith(name):
        return True
    begin = _shared(name, meant)
    end = _shared(name[begin:][::-1], meant[begin:][::-1])
    # Without the longest beginning and end that both have.
    given = name[begin : len(name) - end]
    wanted = meant[begin : len(meant) - end]
    return max(len(given), len(wanted)) == 1 or (len(given) == 2 and given == wanted[::-1])


def _shared(one: str, other: str) -> int:
    """Letters that two texts begin with alike."""
    pairs = zip(one, other, strict=False)
    differing = (place for place, (a, b) in enumerate(pairs) if a != b)
    return next(differing, min(len(one), len(other)))

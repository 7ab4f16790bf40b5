"""Checks of settings, each with one sentence: what is wrong, and what would be right."""

from __future__ import annotations

import math
import operator
import reprlib
import sys
import traceback
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cl_prompts.errors import InputError, all_of, unknown

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


GREATEST = 2**63 - 1
"""The greatest whole number that torch and numpy hold."""


MOST = 1e30
"""The greatest setting that is no whole number: near it, torch's floats come to their end."""


def shown(value: Any) -> str:
    """``repr`` of a value for a sentence, cut in the middle where it is long.

    >>> shown("a" * 500)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _SHORT.repr(value)


def is_one_name(text: str) -> bool:
    """Whether a text can be the name of one folder, and of nothing elsewhere.

    >>> is_one_name("digits+later"), is_one_name("../digits"), is_one_name("..")
    (True, False, False)
    """
    return bool(text) and text not in (".", "..") and not set(text) & set("/\\\0")


def whole_number(name: str, value: Any, low: int = 1, high: int | None = None, of: str = "") -> int:
    """Return ``value`` as an int between ``low`` and ``high``, both included; ``of`` says what
    ``high`` is, such as ``"the number of classes"``.

    Raises:
        InputError: no index of Python's (a bool is none), or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(
            f"{name} must be a whole number {limit}{f' ({of})' if of else ''}, not {shown(value)}"
        )
    return number


def one_of(name: str, value: Any, words: Any) -> None:
    """Refuse a word that is not among ``words``, a collection or a ``Literal`` type, offering the
    nearest one.

    Raises:
        InputError: an unknown word.
    """
    known: Iterable[str] = get_args(words) or words
    if value not in tuple(known):
        raise unknown(name, str(value), known)


def failed(kind: str, name: str, error: Exception) -> InputError:
    """The sentence for a user's own code, of a kind such as "data set", that failed when it was
    called, and where."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frame.filename).name}, line {frame.lineno}"
    reason = " ".join(f"{type(error).__name__}: {error}".split())
    return InputError(f"{kind} {name!r} failed in {place}, with {reason}")


@dataclass(frozen=True)
class Bound:
    """The range of a number, said where a setting is declared: ``Annotated[float, Bound(0, 1)]``.

    Attributes:
        low: smallest value.
        high: greatest value; None for no bound.
        above: ``low``, which is 0, is itself out of range.
        whole: only whole numbers.

    Example:
        >>> Bound(0, 1).check("momentum", 0.9)
        >>> Bound(1, whole=True).check("pool_size", 0)
        Traceback (most recent call last):
        cl_prompts.errors.InputError: pool_size is 0: it must be at least 1
    """

    low: float = 0
    high: float | None = None
    above: bool = False
    whole: bool = False

    def check(self, name: str, value: Any) -> None:
        """Raise ``InputError`` unless the value is in range."""
        kind, word = (Integral, "a whole number") if self.whole else (Real, "a number")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise InputError(f"{name} is {shown(value)}: it must be {word}")
        number: Any = value
        if self.whole and number > GREATEST:
            raise InputError(f"{name} is {shown(value)}: it must be at most 2^63 - 1")
        if not self.whole and MOST < number < math.inf:
            raise InputError(f"{name} is {number}: it must be at most {MOST:g}")
        high = math.inf if self.high is None else self.high
        inside = self.low < number if self.above else self.low <= number
        if not (inside and number <= high and number < math.inf):  # NaN is nowhere
            raise InputError(f"{name} is {value}: {self._rule(number)}")

    def _rule(self, number: Any) -> str:
        if self.above:
            return "it must be positive"
        if self.high is not None:
            return f"it must be between {self.low:g} and {self.high:g}"
        if not -math.inf < number < math.inf:
            return "give a number"
        return "it cannot be negative" if self.low == 0 else f"it must be at least {self.low:g}"


def _within(bound: Bound, values: Mapping[str, float | None]) -> None:
    for name, value in values.items():
        if value is not None:
            bound.check(name, value)


def at_least(low: float, **values: float | None) -> None:
    """Refuse settings that are below ``low`` or not finite; None stands for "not given"."""
    _within(Bound(low), values)


def positive(**values: float | None) -> None:
    """Refuse settings that are not greater than 0 or not finite; None stands for "not given"."""
    _within(Bound(above=True), values)


def in_range(low: float, high: float, **values: float | None) -> None:
    """Refuse settings outside ``[low, high]`` or not finite; None stands for "not given"."""
    _within(Bound(low, high), values)


Count = Annotated[int, Bound(1, whole=True)]
"""A whole number from 1 on."""
Size = Annotated[int, Bound(0, whole=True)]
"""A whole number from 0 on."""
Positive = Annotated[float, Bound(0, above=True)]
"""A number greater than 0."""
NotNegative = Annotated[float, Bound(0)]
"""A number from 0 on."""
Share = Annotated[float, Bound(0, 1)]
"""A number from 0 to 1."""
InputPath = Annotated[str, "input"]
"""The path of a file, or of a folder of files, that enters the numbers of a run: it is known by its
content. A text that names a file is so without this, and one that names a folder is not."""


def fits(name: str, value: Any, kind: Any, of: str = "") -> Any:
    """Refuse a value that a type rules out: its kind of value, its words (``Literal``) or bounds
    (:class:`Bound`).

    Args:
        name: of the setting, for the sentence.
        value: given to it.
        kind: its type; a type that is no plain value is looked at by ``isinstance``.
        of: owner of the setting, for the sentence ("strategy mvp").

    Returns:
        the value; a whole number as a float where the type has floats alone.

    Raises:
        InputError: another kind of value, an unknown word, or a number out of range.

    Example:
        >>> fits("rate", 1, Positive | None), fits("blocks", (0, 1), list[Size])
        (1.0, (0, 1))
        >>> fits("rate", "fast", Positive | None, of="strategy mvp")
        Traceback (most recent call last):
        cl_prompts.errors.InputError: strategy mvp: rate is 'fast': it must be a number
    """
    members = [member for member in members_of(kind) if member is not NoneType]
    if value is None and NoneType in members_of(kind):
        return value
    if len(members) == 1 and get_origin(members[0]) is Literal:
        one_of(f"{name} of {of}" if of else name, value, members[0])
        return value
    shown_name = f"{of}: {name}" if of else name
    fitting = _member_for(value, kind)
    if fitting is not None:
        _check_bounds(shown_name, value, fitting)
        return _as_type(value, fitting)
    wanted = " or ".join(dict.fromkeys(map(_noun, members)))
    given = value if isinstance(value, list | tuple) else [value]
    hint = ""
    if "text" in wanted and any(type(part) in (int, float) for part in given):
        hint = """; a name that reads as a number is written in quotes, as in '"7e2"'"""
    raise InputError(f"{shown_name} is {shown(value)}: it must be {wanted}{hint}")


def members_of(kind: Any) -> list[Any]:
    """Types of a union, or the one type."""
    if get_origin(kind) in (Union, UnionType):
        return [member for part in get_args(kind) for member in members_of(part)]
    return [NoneType if kind is None else kind]


def _member_for(value: Any, kind: Any) -> Any:
    """The type of a union that a value has, or None."""
    # Exact types first, so that 1 stays a whole number where the union has both.
    members = sorted(members_of(kind), key=lambda member: _as_type(value, member) is not value)
    return next((member for member in members if _as_type(value, member) is not _NO), None)


_NO = object()  # of another type
_NOUNS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def _as_type(value: Any, kind: Any) -> Any:
    """The value as a type has it, or :data:`_NO`."""
    origin = get_origin(kind) or kind
    if origin is Annotated:
        return _as_type(value, get_args(kind)[0])
    if origin is Literal:
        return value if value in get_args(kind) else _NO
    if origin in (Union, UnionType):
        found = [_as_type(value, member) for member in members_of(kind)]
        found = [one for one in found if one is not _NO]
        return value if any(one is value for one in found) else found[0] if found else _NO
    if origin in (int, float):
        number = isinstance(value, Integral if origin is int else Real)
        if not number or isinstance(value, bool):
            return _NO
        if origin is int or not isinstance(value, Integral):
            return value
        return float(value) if abs(int(value)) <= sys.float_info.max else _NO
    if origin is Any or not isinstance(origin, type) or getattr(origin, "_is_protocol", False):
        return value
    if issubclass(origin, Sequence) and origin is not str:
        return _as_list(value, get_args(kind)[:1])
    return value if isinstance(value, origin) else _NO


def _as_list(value: Any, inner: tuple[Any, ...]) -> Any:
    """A sequence with its parts as a type has them."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        return _NO
    parts = [_as_type(part, *inner) if inner else part for part in value]
    if any(part is _NO for part in parts):
        return _NO
    # The very list, unless a part was changed.
    return value if all(map(operator.is_, parts, value)) else parts


def _noun(kind: Any) -> str:
    """A type in words."""
    origin = get_origin(kind) or kind
    if origin is Annotated:
        return _noun(get_args(kind)[0])
    if origin is Literal:
        return all_of(map(repr, get_args(kind)), "or")
    if isinstance(origin, type) and issubclass(origin, Sequence) and origin is not str:
        inner = members_of(get_args(kind)[0]) if get_args(kind) else []
        plurals = dict.fromkeys(_plural(_noun(part)) for part in inner)
        return f"a list of {' or '.join(plurals)}" if plurals else "a list"
    return _NOUNS.get(origin) or f"a {getattr(origin, '__name__', origin)}"


def _plural(noun: str) -> str:
    noun = noun.removeprefix("a ")
    return f"lists{noun.removeprefix('list')}" if noun.startswith("list") else f"{noun}s"


def _check_bounds(name: str, value: Any, kind: Any) -> None:
    """Refuse numbers out of the range of an annotated type, or of one within a list."""
    if get_origin(kind) is Annotated:
        for note in get_args(kind)[1:]:
            if isinstance(note, Bound):
                note.check(name, value)
    elif get_args(kind) and isinstance(value, list | tuple):
        for part in value:
            _check_bounds(name, part, _member_for(part, get_args(kind)[0]))

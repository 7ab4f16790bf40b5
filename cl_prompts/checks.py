"""Checks of settings, each with one sentence: what is wrong, and what would be right."""

from __future__ import annotations

import math
import operator
import reprlib
import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from cl_prompts.errors import InputError, unknown

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


def fits(name: str, value: Any, kind: Any) -> None:
    """Refuse a value that a type's words or bounds rule out: its ``Literal``, its :class:`Bound`.

    Other parts of the type are not looked at. Of a union every member may say no, and None is fine
    where the union has it.

    Raises:
        InputError: an unknown word, or a number out of range.
    """
    if get_origin(kind) in (Union, UnionType):
        if value is not None or NoneType not in get_args(kind):
            for member in get_args(kind):
                fits(name, value, member)
    elif get_origin(kind) is Literal:
        one_of(name, value, kind)
    elif get_origin(kind) is Annotated:
        for note in get_args(kind)[1:]:
            if isinstance(note, Bound):
                note.check(name, value)

"""Checks of settings, each with one sentence: what is wrong, and what would be right."""

from __future__ import annotations

import hashlib
import math
import operator
import reprlib
import traceback
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from functools import cache
from numbers import Real
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le

from cl_prompts.errors import InputError, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


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


def _check(values: Mapping[str, Any], allowed: Callable[[Any], bool], rule: str) -> None:
    for name, value in values.items():
        number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (number and math.isfinite(value) and allowed(value)):
            raise InputError(f"{name} is {shown(value)}: {rule}")


def at_least(low: float, **values: float | None) -> None:
    """Refuse settings that are below ``low`` or not finite; None stands for "not given"."""
    rule = "it cannot be negative" if low == 0 else f"it must be at least {low:g}"
    _check(values, lambda value: value >= low, rule)


def positive(**values: float | None) -> None:
    """Refuse settings that are not greater than 0 or not finite; None stands for "not given"."""
    _check(values, lambda value: value > 0, "it must be positive")


def in_range(low: float, high: float, **values: float | None) -> None:
    """Refuse settings outside ``[low, high]`` or not finite; None stands for "not given"."""
    rule = f"it must be between {low:g} and {high:g}"
    _check(values, lambda value: low <= value <= high, rule)


Count = Annotated[int, Ge(1)]
"""A whole number from 1 on."""
Size = Annotated[int, Ge(0)]
"""A whole number from 0 on."""
Positive = Annotated[float, Gt(0)]
"""A number greater than 0."""
NotNegative = Annotated[float, Ge(0)]
"""A number from 0 on."""
Share = Annotated[float, Ge(0), Le(1)]
"""A number from 0 to 1."""

#: pydantic's kind of problem -> the same in our words
_RULES = {
    "bool_type": "it must be true or false",
    "finite_number": "it must be finite",
    "float_type": "it must be a number",
    "greater_than": "it must be greater than {gt:g}",
    "greater_than_equal": "it must be at least {ge:g}",
    "is_instance_of": "it must be a {class}",
    "int_type": "it must be a whole number",
    "less_than_equal": "it must be at most {le:g}",
    "list_type": "it must be a list",
    "sequence_str": "it must be a list",
    "string_type": "it must be a text",
}


def fits(name: str, value: Any, kind: Any, of: str = "") -> Any:
    """Refuse a value that a type rules out: its kind of value, its words (``Literal``) or bounds.

    Args:
        name: of the setting, for the sentence.
        value: given to it.
        kind: its type, as pydantic reads it, strictly: no text stands for a number.
        of: owner of the setting, for the sentence ("strategy mvp").

    Returns:
        the value; a whole number as a float where the type has floats alone.

    Raises:
        InputError: another kind of value, an unknown word, or a number out of range.

    Example:
        >>> fits("rate", 1, Positive | None), fits("blocks", [0, 1], list[Size])
        (1.0, [0, 1])
        >>> fits("rate", "fast", Positive | None, of="strategy mvp")
        Traceback (most recent call last):
        cl_prompts.errors.InputError: strategy mvp: rate is 'fast': it must be a number
    """
    from pydantic import ValidationError  # here, since lists and texts need no checks

    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        problems = error.errors()
    if len(problems) == 1 and problems[0]["type"] == "literal_error":
        one_of(f"{name} of {of}" if of else name, value, list(words_of(kind)))
    # Sorted, since unions are equal whatever the order of their members.
    rules = sorted(set(map(_rule, problems)))
    rules[1:] = [rule.removeprefix("it must be ") for rule in rules[1:]]
    owner = f"{of}: " if of else ""
    raise InputError(f"{owner}{name} is {shown(value)}: {' or '.join(rules)}")


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(kind, config=config)


def _rule(problem: Any) -> str:
    rule = _RULES.get(problem["type"], problem["msg"]).format(**problem.get("ctx", {}))
    return rule.replace("Input should", "it should").replace("a Sequence", "a list")


def words_of(kind: Any) -> Iterator[str]:
    """The words of a ``Literal`` type, also within a union.

    >>> list(words_of(Literal["warm", "cold"] | None))
    ['warm', 'cold']
    """
    if get_origin(kind) is Literal:
        yield from get_args(kind)
    for member in get_args(kind) if get_origin(kind) in (Union, UnionType) else ():
        yield from words_of(member)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Raises:
        OSError: there is no such file, or it cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def doubled(items: Iterable[Hashable]) -> Any:
    """Return the first item that comes a second time; None where each comes once.

    >>> doubled("abcb"), doubled("abc")
    ('b', None)
    """
    met = set()
    for item in items:
        if item in met:
            return item
        met.add(item)
    return None

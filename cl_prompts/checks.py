"""Checks of settings, each with one sentence: what is wrong, and what would be right."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from importlib import import_module
from typing import Any, get_args

from cl_prompts.errors import InputError, unknown


def whole_number(name: str, value: Any, low: int = 1, high: int | None = None, of: str = "") -> int:
    """Return ``value`` as an int between ``low`` and ``high``, both included.

    Args:
        name: of the setting.
        value: anything that Python takes for an index; a bool is refused.
        low: smallest value.
        high: greatest value; None for no bound.
        of: what ``high`` is, said behind it, such as ``"the number of classes"``.

    Raises:
        InputError: another type or another range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < low or (high is not None and number > high):
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(
            f"{name} must be a whole number {limit}{f' ({of})' if of else ''}, not {value!r}"
        )
    return number


def at_least(low: float, **values: float | None) -> None:
    """Refuse numbers that are below ``low`` or not finite; None stands for "not given".

    Raises:
        InputError: names the first such setting.
    """
    for name, value in values.items():
        if value is None or (math.isfinite(value) and value >= low):
            continue
        bound = "it cannot be negative" if low == 0 else f"it must be at least {low:g}"
        raise InputError(f"{name} is {value}: {bound if math.isfinite(value) else 'give a number'}")


def positive(**values: float | None) -> None:
    """Refuse numbers that are not greater than 0 or not finite; None stands for "not given".

    Raises:
        InputError: names the first such setting.
    """
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{name} is {value}: it must be positive")


def in_range(low: float, high: float, **values: float | None) -> None:
    """Refuse numbers outside ``[low, high]`` or not finite; None stands for "not given".

    Raises:
        InputError: names the first such setting.
    """
    for name, value in values.items():
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise InputError(f"{name} is {value}: it must be between {low:g} and {high:g}")


def one_of(name: str, value: Any, words: Any) -> None:
    """Refuse a word that is not among ``words``, offering the nearest one.

    Args:
        name: of the setting.
        value: what was given.
        words: the words that exist, or the ``Literal`` type that lists them.

    Raises:
        InputError: an unknown word.
    """
    known: Iterable[str] = get_args(words) or words
    if value not in tuple(known):
        raise unknown(name, str(value), known)


def load_object(kind: str, path: str) -> Any:
    """Import what ``"package.module:name"`` names.

    Args:
        kind: what it should be, in the singular ("strategy").
        path: dotted module, a colon, and a name in it.

    Raises:
        InputError: no such module, no such name in it, or the import fails.
    """
    module, _, name = path.partition(":")
    try:
        found = import_module(module)
    except Exception as error:  # a user's module may fail in any way, and says so itself
        raise InputError(
            f"{kind} {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not name or not hasattr(found, name):
        raise unknown(f"{kind} in module {module}", name, [n for n in vars(found) if n[0] != "_"])
    return getattr(found, name)

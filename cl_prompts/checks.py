"""Checks of settings, with messages that say what is wrong and what is allowed."""

from __future__ import annotations

import ast
import hashlib
import operator
import reprlib
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Len, Lt, MultipleOf

from cl_prompts.errors import InputError, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter

Item = TypeVar("Item", bound=Hashable)
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = _SHORT.maxlong = 60
_SHORT.maxlevel = 3
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 12


def shown(value: object) -> str:
    """Return the ``repr`` of a value, shortened in the middle.

    >>> shown("a" * 500)
    "'aaaaaaaaaaaaaaaaaaaaaaaaaaa...aaaaaaaaaaaaaaaaaaaaaaaaaaaa'"
    """
    return _SHORT.repr(value)


def is_one_name(text: str) -> bool:
    """Return whether a text is a folder name without a path.

    >>> is_one_name("digits+later"), is_one_name("../digits"), is_one_name("..")
    (True, False, False)
    """
    return bool(text) and text not in (".", "..") and not set(text) & set("/\\\0")


def whole_number(name: str, value: Any, low: int = 1, high: int | None = None, of: str = "") -> int:
    """Return ``value`` as an int in ``[low, high]``.

    Args:
        name: of the setting.
        value: an integer type other than bool.
        low, high: bounds; None for no upper bound.
        of: meaning of ``high``, such as ``"the number of classes"``.

    Raises:
        InputError: another type, or out of range.
    """
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or not low <= number <= (number if high is None else high):
        limit = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(
            f"{name} must be a whole number {limit}{f' ({of})' if of else ''}, not {shown(value)}"
        )
    return number


def one_of(name: str, value: object, words: Any) -> None:
    """Refuse a word that is not among ``words``, a collection or ``Literal`` type.

    Raises:
        InputError: an unknown word, with the nearest known one.
    """
    known: Iterable[str] = get_args(words) or words
    if value not in tuple(known):
        raise unknown(name, str(value), known)


Count = Annotated[int, Ge(1)]
"""Whole number, at least 1."""
Size = Annotated[int, Ge(0)]
"""Whole number, at least 0."""
Even = Annotated[int, Ge(2), MultipleOf(2)]
"""Even number, at least 2."""
Positive = Annotated[float, Gt(0)]
"""Number greater than 0."""
NotNegative = Annotated[float, Ge(0)]
"""Number, at least 0."""
Decay = Annotated[float, Ge(0), Lt(1)]
"""Number from 0 to below 1."""
Several = Annotated[int, Ge(2)]
"""Whole number, at least 2."""
Significance = Annotated[float, Gt(0), Lt(0.5)]
"""Number between 0 and 0.5."""
Share = Annotated[float, Ge(0), Le(1)]
"""Number from 0 to 1."""


Part = Annotated[float, Gt(0), Le(1)]
"""Number greater than 0, at most 1."""
Normalisation = Annotated[Sequence[Annotated[Sequence[float], Len(3, 3)]], Len(2, 2)]
"""Means and standard deviations of three colour channels."""


def fits(name: str, value: object, kind: object, of: str = "") -> Any:
    """Check a value against a type with words (``Literal``) and bounds.

    Args:
        name: of the setting, for the message.
        value: its value.
        kind: its type, checked by pydantic in strict mode: a text is never a number.
        of: owner of the setting, for the message ("strategy mvp").

    Returns:
        the value; a whole number as a float where the type allows only floats.

    Raises:
        InputError: another type, an unknown word, or a number out of range.

    Example:
        >>> fits("rate", 1, Positive | None), fits("blocks", [0, 1], list[Size])
        (1.0, [0, 1])
        >>> fits("rate", "fast", Positive | None, of="strategy mvp")
        Traceback (most recent call last):
        cl_prompts.errors.InputError: strategy mvp: rate is 'fast': it should be a valid number
    """
    from pydantic import ValidationError  # slow import

    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        problems = error.errors()
    if len(problems) == 1 and problems[0]["type"] == "literal_error":
        one_of(f"{name} of {of}" if of else name, value, list(words_of(kind)))
    # Sorted, since the order of a union has no meaning.
    rules = sorted(set(map(_rule, problems)))
    rules[1:] = [rule.removeprefix("it should be ") for rule in rules[1:]]
    owner = f"{of}: " if of else ""
    raise InputError(f"{owner}{name} is {shown(value)}: {' or '.join(rules)}")


@cache
def _adapter(kind: Any) -> TypeAdapter[object]:
    from pydantic import ConfigDict, TypeAdapter

    config = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    return TypeAdapter(kind, config=config)


def _rule(problem: Any) -> str:
    if problem["type"] == "sequence_str":
        return "it should be a list"
    rule = problem["msg"].replace("Input should", "it should")
    return rule.replace("an instance of Sequence", "a list")


def words_of(kind: object) -> Iterator[str]:
    """Yield the words of a ``Literal`` type, also within a union.

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
        OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def source_hash(*paths: str | Path) -> str:
    """Return the SHA-256 of Python files, without comments, docstrings and layout."""
    trees = (_Undocumented().visit(ast.parse(Path(path).read_bytes(), path)) for path in paths)
    # Unlike ast.dump, unparse writes the same in all versions of Python.
    return hashlib.sha256("\n".join(map(ast.unparse, trees)).encode()).hexdigest()


class _Undocumented(ast.NodeTransformer):
    """Remove docstrings, which are statements; expressions are not searched."""

    def visit(self, node: ast.AST) -> Any:
        return node if isinstance(node, ast.expr) else super().visit(node)

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        return None if isinstance(node.value, ast.Constant) else node


def doubled(items: Iterable[Item]) -> Item | None:
    """Return the first repeated item, or None.

    >>> doubled("abcb"), doubled("abc")
    ('b', None)
    """
    return next((item for item, n in Counter(items).items() if n > 1), None)

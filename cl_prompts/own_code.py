"""Code of a user's own, named ``package.module:name``: what may be imported, and what called.

Importing a module runs it. What is called afterwards must say itself that it is meant for this
package: a strategy and a plugin by their base class, a scenario and a data set by a decorator.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterable
from importlib import import_module
from typing import Any, Literal, TypeVar

from cl_prompts.errors import InputError, unknown

Function = TypeVar("Function", bound=Callable[..., Any])
Kind = Literal["scenario", "data set"]
Trust = bool | Collection[str]
"""Dotted names that may be imported: True for any, False for none."""

_DECORATORS: dict[Kind, str] = {"scenario": "scenario", "data set": "dataset"}
_MARK = "_cl_prompts_kind"


def check_trust(names: Iterable[str], trust_code: Trust) -> None:
    """Refuse a file that names code, before anything of it is imported.

    Raises:
        InputError: a dotted name that may not be imported; the sentence names the modules.

    >>> check_trust(["mine:Method"], {"mine:Method"})
    >>> check_trust(["mine:Method", "mine:images"], False)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: it names code and would import mine: if you trust that code, add \
--trust-code (in Python trust_code=True)
    """
    if trust_code is True:
        return
    trusted = trust_code or ()
    modules = {name.partition(":")[0] for name in names if name not in trusted}
    if modules:
        raise InputError(
            f"it names code and would import {', '.join(sorted(modules))}: if you trust that code,"
            " add --trust-code (in Python trust_code=True)"
        )


def scenario(function: Function) -> Function:
    """Declare a function of labels as a scenario, so that recipes may name it.

    >>> @scenario
    ... def mine(targets, n_tasks: int = 2): ...
    >>> is_declared("scenario", mine), is_declared("data set", mine)
    (True, False)
    """
    setattr(function, _MARK, "scenario")
    return function


def dataset(function: Function) -> Function:
    """Declare a function that returns a ``DataSet``, so that recipes may name it."""
    setattr(function, _MARK, "data set")
    return function


def is_declared(kind: Kind, found: Any) -> bool:
    """Whether something wears the decorator of a kind."""
    # Not by getattr, which may answer anything.
    return callable(found) and getattr(found, "__dict__", {}).get(_MARK) == kind


def load_object(kind: str, path: str) -> Any:
    """The object of a dotted name ``"package.module:name"``, of a kind such as "strategy"; the
    caller checks that it is one before it is used.

    Raises:
        InputError: a module of Python's own, no such module, no such name in it, or the import
            fails.
    """
    module, _, name = path.partition(":")
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise InputError(
            f"{kind} {path!r} is refused: module {module} is Python's own, and holds no {kind}"
        )
    try:
        found = import_module(module)
    except Exception as error:  # a user's module may fail in any way, and says so itself
        raise InputError(
            f"{kind} {path!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    if not name or not hasattr(found, name):
        raise unknown(f"{kind} in module {module}", name, [n for n in vars(found) if n[0] != "_"])
    return getattr(found, name)


def load_function(kind: Kind, path: str) -> Any:
    """The function of a dotted name, which must wear the decorator of its kind.

    Raises:
        InputError: it wears none, or as :func:`load_object`.
    """
    found = load_object(kind, path)
    if not is_declared(kind, found):
        raise InputError(
            f"{kind} {path!r} is not declared as one: if the function is yours, write"
            f" @cl_prompts.{_DECORATORS[kind]} above it"
        )
    return found

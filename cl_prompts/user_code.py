"""A user's own code, named ``package.module:name``, and optional libraries.

Importing a module runs it, so a name that stands in somebody else's file needs trust. What is
called afterwards must say that it is meant for this package: a strategy and a plugin by their base
class, a scenario and a data set by a decorator.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any, Literal, TypeVar, get_type_hints

from cl_prompts.checks import failed, sha256
from cl_prompts.errors import InputError, RunError, unknown

Function = TypeVar("Function", bound=Callable[..., Any])
Kind = Literal["scenario", "data set"]
Trust = bool | Collection[str]
"""Dotted names that may be imported: True for any, False for none."""

_DECORATORS: dict[Kind, str] = {"scenario": "scenario", "data set": "dataset"}
_MARK = "_cl_prompts_kind"


def is_dotted(name: str) -> bool:
    """Whether ``name`` is of the form ``package.module:name``."""
    return ":" in name


def label_of(name: str) -> str:
    """Short label of a name, for folders, tables and pictures: what follows the colon."""
    return name.rpartition(":")[2]


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """Label of each name: the short one, or the whole name where two short ones are equal.

    >>> labels_of(["mvp", "mine:Method"])
    {'mvp': 'mvp', 'mine:Method': 'Method'}
    """
    distinct = list(dict.fromkeys(names))
    short = [label_of(name) for name in distinct]
    return {
        name: label if short.count(label) == 1 else name
        for name, label in zip(distinct, short, strict=True)
    }


def extra(module: str, part: str, user: str) -> Any:
    """Import a library of an optional part of the installation.

    Args:
        module: to import.
        part: of the installation that holds it, such as "ray".
        user: that needs it, for the sentence ("--launcher ray").

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{user} needs {error.name}, which is not installed: pip install 'cl-prompts[{part}]'"
        ) from error


def check_trust(names: Iterable[str], trust_code: Trust) -> None:
    """Refuse a file that names code, before anything of it is imported.

    Args:
        names: dotted names in the file.
        trust_code: what may be imported.

    Raises:
        InputError: a dotted name that may not be imported.

    >>> check_trust(["mine:Method"], {"mine:Method"})
    >>> check_trust(["mine:Method"], False)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: it names code and would import mine:Method: if you trust that \
code, add --trust-code (in Python trust_code=True)
    """
    if trust_code is True:
        return
    untrusted = sorted(set(names) - set(trust_code or ()))
    if untrusted:
        raise InputError(
            f"it names code and would import {', '.join(untrusted)}: if you trust that code, add"
            " --trust-code (in Python trust_code=True)"
        )


def code_hash(name: str) -> str:
    """Return the SHA-256 of the source file of a dotted name's module.

    Raises:
        InputError: it cannot be imported, or has no file, as that of a notebook.
    """
    module = _imported(name)
    file = getattr(module, "__file__", None)
    if file is None:
        raise InputError(
            f"module {module.__name__} of {name} has no file, by whose content a run would know"
            " it: write it into one"
        )
    return sha256(file)


def _imported(name: str) -> ModuleType:
    """The module of a dotted name that may be imported; it may lie in the current folder."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return import_module(name.partition(":")[0])
    except Exception as error:  # a user's module may fail in any way, and says so itself
        raise InputError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error


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
    """Return the object of a dotted name, of a kind such as "strategy"; the caller checks that it
    is one before it is used.

    Raises:
        InputError: no such module, no such name in it, or the import fails.
    """
    module = _imported(path)
    name = path.partition(":")[2]
    if not name or not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise unknown(f"{kind} in module {module.__name__}", name, known)
    return getattr(module, name)


def load_function(kind: Kind, path: str) -> Any:
    """Return the function of a dotted name, which must wear the decorator of its kind.

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


def keywords(function: Callable[..., Any], without: set[str]) -> dict[str, tuple[Any, Any]]:
    """Parameters of a function, or those that ``functools.partial`` leaves of it.

    >>> def letters(image_size: int, alphabet: str = "latin"): ...
    >>> keywords(letters, {"image_size"})
    {'alphabet': (<class 'str'>, 'latin')}

    Returns:
        name -> (type, default); the default is ``...`` where there is none. Variable parameters
        (``*args`` and ``**kwargs``) and those in ``without`` are left out.

    Raises:
        InputError: an annotation names something that does not exist.
    """
    # get_type_hints does not look into a partial.
    inner = getattr(function, "func", function)
    try:
        hints = get_type_hints(inner, include_extras=True) if inspect.isfunction(inner) else {}
    except NameError as error:
        raise InputError(
            f"the annotations of {inner.__module__}.{inner.__qualname__} cannot be read: {error}"
        ) from error
    found = {}
    for name, parameter in inspect.signature(function).parameters.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not variable and name not in without:
            default = ... if parameter.default is parameter.empty else parameter.default
            found[name] = (hints.get(name, Any), default)
    return found


def call_function(
    kind: str, name: str, function: Callable[..., Any], arguments: Mapping[str, Any], returns: type
) -> Any:
    """The result of a user's function, of type ``returns``.

    Raises:
        InputError: a parameter without a value, a failure inside of the function, or a result of
            another type.
    """
    for key, (_, default) in keywords(function, set(arguments)).items():
        if default is ...:
            raise InputError(f"{kind} {name!r} needs a value for {key}")
    try:
        result = function(**arguments)
    except (InputError, RunError):
        raise
    except Exception as error:  # a user's function may fail in any way, and says so itself
        raise failed(kind, name, error) from error
    if not isinstance(result, returns):
        raise InputError(
            f"{kind} {name!r} must return a {returns.__name__}, not {type(result).__name__}"
        )
    return result

"""User code, named ``package.module:name``, and optional libraries.

Importing a module runs it, so a name in a file of another user needs trust. Strategies and plugins
must have the right base class, scenarios and data sets a decorator.
"""

import inspect
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Literal, TypeVar, get_type_hints

from cl_prompts.checks import source_hash
from cl_prompts.errors import InputError, unknown

Function = TypeVar("Function", bound=Callable[..., object])
Kind = Literal["scenario", "data set"]
#: parameter -> its type and its default, ``...`` without one
Parameters = dict[str, tuple[object, object]]
Trust = bool | Collection[str]
"""Dotted names that may be imported: True for any, False for none."""

_MARK = "_cl_prompts_kind"


def is_dotted(name: str) -> bool:
    """Return whether a name has the form ``package.module:name``."""
    return ":" in name


def label_of(name: str) -> str:
    """Return the part of a name after the colon, for folders, tables and figures."""
    return name.rpartition(":")[2]


def labels_of(names: Iterable[str]) -> dict[str, str]:
    """Return the label of each name, or the whole name where labels are equal.

    >>> labels_of(["mvp", "mine:Method"])
    {'mvp': 'mvp', 'mine:Method': 'Method'}
    """
    labels = {name: label_of(name) for name in names}
    short = list(labels.values())
    return {name: label if short.count(label) == 1 else name for name, label in labels.items()}


def extra(module: str, packages: str, user: str) -> Any:
    """Import a library that the installation does not require.

    Args:
        module: to import.
        packages: what pip has to install for it, such as "onnx onnxruntime".
        user: that needs it, for the sentence ("--executor ray").

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{user} needs {error.name}, which is not installed: pip install {packages}"
        ) from error


def load_late(name: str) -> None:
    """Import a library when its first attribute is read, also by modules that import it.

    ``importlib.util.LazyLoader`` would import it as soon as ``inspect`` reads ``__file__``.
    """
    spec = None if name in sys.modules else find_spec(name)
    if spec is None:
        return

    def get(attribute: str) -> object:
        if sys.modules.get(name) is late:
            del sys.modules[name]
        return getattr(import_module(name), attribute)

    late = ModuleType(name)
    vars(late).update(__spec__=spec, __file__=spec.origin, __getattr__=get)
    sys.modules[name] = late


def check_trust(names: Iterable[str], trust_code: Trust) -> None:
    """Refuse a file that names untrusted code, before any import.

    Args:
        names: dotted names in the file.
        trust_code: names that may be imported.

    Raises:
        InputError: another name.

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
    """Return the :func:`~cl_prompts.checks.source_hash` of a dotted name's module.

    Raises:
        InputError: it cannot be imported.
        TypeError: it has no file, as in a notebook.
    """
    return source_hash(inspect.getfile(_imported(name)))


def _imported(name: str) -> ModuleType:
    """Import the module of a dotted name, also from the current folder."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return import_module(name.partition(":")[0])
    except Exception as error:  # user code may raise anything
        raise InputError(f"{name!r} cannot be imported: {type(error).__name__}: {error}") from error


def scenario(function: Function) -> Function:
    """Declare a function of labels as a scenario that recipes may name.

    >>> @scenario
    ... def mine(targets, n_tasks: int = 2): ...
    """
    setattr(function, _MARK, "scenario")
    return function


def dataset(function: Function) -> Function:
    """Declare a function that returns a ``DataSet`` as a data set that recipes may name."""
    setattr(function, _MARK, "data set")
    return function


def load_object(kind: str, path: str) -> Any:
    """Import the object of a dotted name; the caller checks its type.

    Args:
        kind: of object, such as "strategy", for messages.
        path: dotted name.

    Raises:
        InputError: an unknown name, or a failed import.
    """
    module = _imported(path)
    name = path.partition(":")[2]
    if not name or not hasattr(module, name):
        known = [key for key in vars(module) if not key.startswith("_")]
        raise unknown(f"{kind} in module {module.__name__}", name, known)
    return getattr(module, name)


def load_function(kind: Kind, path: str) -> Any:
    """Import the function of a dotted name, which must have the decorator of its kind.

    Raises:
        InputError: without decorator, or as :func:`load_object`.
    """
    found = load_object(kind, path)
    if getattr(found, _MARK, None) != kind:
        raise InputError(
            f"{path!r} is not declared as a {kind}: if it is yours, write"
            f" @cl_prompts.{kind.replace(' ', '')} above it"
        )
    return found


def keywords(function: Callable[..., object], without: set[str]) -> Parameters:
    """Return the parameters of a function, class or ``functools.partial``.

    >>> def letters(image_size: int, alphabet: str = "latin"): ...
    >>> keywords(letters, {"image_size"})
    {'alphabet': (<class 'str'>, 'latin')}

    Returns:
        name -> (type, default), with ``...`` for no default, without ``*args``, ``**kwargs`` and
        the names in ``without``.
    """
    # get_type_hints does not look into a partial.
    inner = getattr(function, "func", function)
    target = inner.__init__ if isinstance(inner, type) else inner  # type: ignore[misc]
    hints = get_type_hints(target, include_extras=True) if inspect.isfunction(target) else {}
    found: Parameters = {}
    for name, parameter in inspect.signature(function).parameters.items():
        variable = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if not variable and name not in without:
            default = ... if parameter.default is parameter.empty else parameter.default
            found[name] = (hints.get(name, Any), default)
    return found


def call_function(
    kind: str, name: str, function: Callable[..., Any], arguments: Mapping[str, Any], returns: type
) -> Any:
    """Call a user's function and check the type of its result.

    Raises:
        InputError: another type.
    """
    result = function(**arguments)
    if not isinstance(result, returns):
        raise InputError(
            f"{kind} {name!r} must return a {returns.__name__}, not {type(result).__name__}"
        )
    return result

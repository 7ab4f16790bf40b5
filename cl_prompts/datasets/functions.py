"""Data sets that a user's own function makes, named ``package.module:function``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from cl_prompts.checks import failed, one_of
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.errors import InputError, RunError


def keywords(function: Callable[..., Any], without: set[str]) -> dict[str, tuple[Any, Any]]:
    """Parameters of a function, or those that ``functools.partial`` leaves of it.

    >>> def letters(image_size: int, alphabet: str = "latin"): ...
    >>> keywords(letters, {"image_size"})
    {'alphabet': (<class 'str'>, 'latin')}

    Args:
        function: what is going to be called.
        without: parameters that do not count.

    Returns:
        name -> (type, default); the default is ``...`` where there is none. Variable parameters
        (``*args`` and ``**kwargs``) are left out.

    Raises:
        InputError: an annotation names something that does not exist.
    """
    inner = getattr(function, "func", function)
    try:
        hints = get_type_hints(inner) if inspect.isfunction(inner) else {}
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
    name: str,
    function: Callable[..., DataSet],
    offered: Mapping[str, Any],
    given: Mapping[str, Any],
) -> DataSet:
    """The data set that a user's function returns.

    Args:
        name: what the user calls it, for error messages.
        function: the function.
        offered: arguments that it gets if it declares them.
        given: arguments that it must declare.

    Raises:
        InputError: an argument that it does not declare, one that it needs and does not get, or a
            result that is no ``DataSet``.
    """
    signature = inspect.signature(function).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.values()):
        for key in given:
            one_of(f"argument of data set {name!r}", key, signature)
    arguments = {**{key: value for key, value in offered.items() if key in signature}, **given}
    for key, (_, default) in keywords(function, set(arguments)).items():
        if default is ...:
            raise InputError(f"data set {name!r} needs a value for {key}")
    try:
        data = function(**arguments)
    except (InputError, RunError):
        raise
    except Exception as error:  # a user's function may fail in any way, and says so itself
        raise failed("data set", name, error) from error
    if not isinstance(data, DataSet):
        raise InputError(
            f"data set {name!r} must return a DataSet, as as_dataset makes one, not a"
            f" {type(data).__name__}"
        )
    return data

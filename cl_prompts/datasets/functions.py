"""Functions of a user's own, named ``package.module:function``: their parameters and results."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_type_hints

from cl_prompts.checks import failed
from cl_prompts.errors import InputError, RunError


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

"""Libraries that only some commands need, as optional parts of an installation."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from cl_prompts.errors import InputError


def extra(module: str, part: str, what: str) -> Any:
    """Import a library of an optional part.

    Args:
        module: to import.
        part: of the installation that holds it, such as "ray".
        what: needs it, for the sentence ("--launcher ray").

    Raises:
        InputError: it is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise InputError(
            f"{what} needs {error.name}, which is not installed: pip install 'cl-prompts[{part}]'"
        ) from error

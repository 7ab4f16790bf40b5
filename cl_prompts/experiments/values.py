"""Values of settings as YAML and the command line write them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.checks import whole_number
from cl_prompts.errors import InputError


class Loader(yaml.SafeLoader):
    """YAML loader that reads ``5e-3`` as a number, which YAML 1.1 takes for text."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


def parsed(text: str) -> Any:
    """The YAML value of a text; the text itself where it is no YAML.

    >>> parsed("5e-3"), parsed("[1, two]")
    (0.005, [1, 'two'])
    """
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.YAMLError:
        return text


def as_list(value: Any) -> list[Any]:
    """A list as it is, the parts of a text ``a,b``, or any other value as a list of one."""
    if isinstance(value, str):
        return [parsed(part.strip()) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


def as_names(key: str, value: Any) -> list[str]:
    """One name or several, from a list or a text ``a,b``.

    Raises:
        InputError: there is none, or one is no text.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{key} is {value!r}: it should be a name, or several as a,b")
    return names


def as_seed(key: str, value: Any) -> int:
    """A whole number that fits 63 bits.

    Raises:
        InputError: anything else.
    """
    return whole_number(key, value, 0, 2**63 - 1, of="2^63 - 1")


def plain(value: Any) -> Any:
    """Tuples as lists and paths as text, which YAML can store."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value

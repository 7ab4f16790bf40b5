"""Values of settings as YAML and the command line write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Le

from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError

_MOST = 10_000  # seeds of one range
_RANGE = re.compile(r"(\d{1,20})\s*-\s*(\d{1,20})")
#: of a run or stream
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")


class Loader(yaml.SafeLoader):
    """YAML loader that reads ``5e-3`` as a number, which YAML 1.1 takes for a text."""


class Dumper(yaml.SafeDumper):
    """YAML dumper that quotes texts such as ``5e-3``."""


for _kind in (Loader, Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def yaml_text(value: Any, **layout: Any) -> str:
    """A value as YAML, in the order of its keys.

    Args:
        value: mappings, lists, texts, numbers, truth values and None.
        layout: arguments of PyYAML's ``dump``.
    """
    text: str = yaml.dump(value, Dumper=Dumper, sort_keys=False, **layout)
    return text


def yaml_of(text: str) -> Any:
    """The value of a text in YAML.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    return yaml.load(text, Loader=Loader)


def parsed(text: str) -> Any:
    """The YAML value of a text; the text itself where it is no YAML.

    >>> parsed("5e-3"), parsed("[1, two]")
    (0.005, [1, 'two'])
    """
    try:
        return yaml_of(text)
    except yaml.YAMLError:
        return text


def as_list(value: Any) -> list[Any]:
    """A list as it is, the parts of a text ``a,b``, or any other value as a list of one."""
    if isinstance(value, str):
        return [parsed(part.strip()) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


#: settings of a strategy that map names to settings
BY_NAME = ("prompt_form", "plugins")
#: groups of settings in those of a run, and groups in these; any other mapping is a value
GROUPS: Mapping[Any, Any] = {
    **{key: {} for key in ("dataset", "scenario", "backbone", "evaluation")},
    "options": {"head": {}, **{key: {None: {}} for key in BY_NAME}},
    "parent": {},
}


def by_name(where: str, value: Any) -> dict[str, Any]:
    """Settings by name, from a mapping, a list of names or a text ``a,b``; None stands for none.

    >>> by_name("plugins", "self_regulation,slow_heads")
    {'self_regulation': {}, 'slow_heads': {}}

    Raises:
        InputError: something else.
    """
    if isinstance(value, str | list | tuple):
        return {str(name): {} for name in as_list(value)}
    if value is None or isinstance(value, Mapping):
        # A name without settings leaves those that are given below it.
        return {str(name): {} if own is None else own for name, own in (value or {}).items()}
    raise InputError(f"{where} is {shown(value)}: it should map names to settings")


def with_names(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose plugins and forms are mappings, so that they can be laid over others."""
    return {
        key: by_name(key, value) if key in BY_NAME else value for key, value in settings.items()
    }


def in_one_line(error: Exception) -> str:
    """Message of a library's error, without line breaks and without the text that it cites."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark = error.problem_mark
        return f"{error.problem} in line {mark.line + 1}, column {mark.column + 1}"
    return " ".join(str(error).split())


def as_seeds(key: str, value: Any) -> list[int]:
    """Seeds from one, a list, a text ``1,2`` or ranges such as ``1-5``; each once.

    >>> as_seeds("seed", "1-3,7")
    [1, 2, 3, 7]

    Raises:
        InputError: anything else, none, or a range that runs backwards or is too long.
    """
    found: dict[int, None] = {}
    for part in as_list(value):
        ends = _RANGE.fullmatch(part) if isinstance(part, str) else None
        if ends is None:
            found[fits(key, part, Seed)] = None
            continue
        first, last = (fits(key, int(end), Seed) for end in ends.groups())
        if not 0 <= last - first < _MOST:
            raise InputError(
                f"{key} has the range {shown(part)}: it should run upwards, over at most"
                f" {_MOST:,} seeds"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    if not found:
        raise InputError(f"{key} is empty: give at least one, such as {key}=1")
    return list(found)


def plain(value: Any) -> Any:
    """Tuples as lists and paths as text, which YAML can store."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def flat(
    config: Mapping[Any, Any], groups: Mapping[Any, Any] = GROUPS, above: str = ""
) -> Iterator[tuple[str, Any]]:
    """Settings on one level, with dotted names; an empty group, such as a plugin without settings,
    is a value, and so are the order of several plugins and a mapping that a setting holds.

    >>> dict(flat({"seed": 1, "scenario": {"name": "disjoint", "n_tasks": 5}, "parent": {}}))
    {'seed': 1, 'scenario.name': 'disjoint', 'scenario.n_tasks': 5, 'parent': {}}

    Args:
        config: settings of a run, or those of a group.
        groups: groups that there may be in it; None stands for any name.
        above: what names begin with.
    """
    for key, value in config.items():
        inside = groups.get(key, groups.get(None))
        if isinstance(value, Mapping) and value and inside is not None:
            if key in BY_NAME and len(value) > 1:
                yield f"{above}{key}", ", ".join(map(str, value))
            yield from flat(value, inside, f"{above}{key}.")
        else:
            yield f"{above}{key}", value

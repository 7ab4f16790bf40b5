"""Values of settings: YAML, ranges of seeds, lists and mappings by name."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import yaml
from annotated_types import Ge, Le

from cl_prompts.checks import Positive, fits, shown
from cl_prompts.errors import InputError

#: settings by name; their owner declares the types
Arguments = dict[str, Any]
_MOST = 10_000  # seeds of one range
_RANGE = re.compile(r"(\d{1,20})\s*-\s*(\d{1,20})")
#: seed of a run or stream
Seed = Annotated[int, Ge(0), Le(2**63 - 1)]
_EXPONENT = re.compile(r"^[-+]?\d+(\.\d*)?[eE][-+]?\d+$")
_SafeLoader: Any = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader  # in C: faster


class Loader(_SafeLoader):
    """YAML loader that reads ``5e-3`` as a number, unlike YAML 1.1."""


class Dumper(yaml.SafeDumper):
    """YAML dumper that quotes texts such as ``5e-3``."""


for _kind in (Loader, Dumper):
    _kind.add_implicit_resolver("tag:yaml.org,2002:float", _EXPONENT, list("-+0123456789"))


def yaml_text(value: object, **layout: Any) -> str:
    """Write plain data as YAML, in the order of its keys.

    Args:
        value: mappings, lists, texts, numbers, booleans and None.
        layout: arguments of PyYAML's ``dump``.
    """
    return yaml.dump(value, Dumper=Dumper, sort_keys=False, **layout)


def yaml_of(text: str) -> Any:
    """Read YAML.

    Raises:
        yaml.YAMLError: the text is not valid YAML.
    """
    return yaml.load(text, Loader=Loader)


def parsed(text: str) -> Any:
    """Read a text as YAML, or return it where it is not valid YAML.

    >>> parsed("5e-3"), parsed("[1, two]")
    (0.005, [1, 'two'])
    """
    try:
        return yaml_of(text)
    except (yaml.YAMLError, UnicodeEncodeError):  # the latter of a name that is not UTF-8
        return text


def written(value: object) -> str:
    """Return a value as recipes write it; texts that read like other values have quotes.

    >>> written("auto"), written("5"), written([1, None])
    ('auto', '"5"', '[1, null]')
    """
    if isinstance(value, str) and parsed(value) == value:
        return value
    return json.dumps(value, default=repr)


def as_list(value: object) -> list[Any]:
    """Return a list unchanged, a text ``a,b`` in parts, any other value as a list of one."""
    if isinstance(value, str):
        return [parsed(part.strip()) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


#: settings of a strategy that map names to settings
BY_NAME = ("prompt_form", "plugins")


def by_name(where: str, value: object) -> Arguments:
    """Return settings by name, from a mapping, a list of names, a text ``a,b`` or None.

    >>> by_name("plugins", "self_regulation,slow_heads")
    {'self_regulation': {}, 'slow_heads': {}}

    Raises:
        InputError: another type.
    """
    if isinstance(value, str | list | tuple):
        return {str(name): {} for name in as_list(value)}
    if value is None or isinstance(value, Mapping):
        # A name without settings keeps those that it is merged over; one of a head is None.
        blank: Arguments | None = None if where == "head" else {}
        return {str(name): blank if own is None else own for name, own in (value or {}).items()}
    raise InputError(f"{where} is {shown(value)}: it should map names to settings")


def as_seeds(key: str, value: object) -> list[int]:
    """Read seeds from a number, a list, a text ``1,2`` or ranges such as ``1-5``.

    >>> as_seeds("seed", "1-3,7")
    [1, 2, 3, 7]

    Raises:
        InputError: another value, no seed, or a range that decreases or is too long.
    """
    found: dict[int, None] = {}
    for part in as_list(value):
        ends = _RANGE.fullmatch(part) if isinstance(part, str) else None
        first, last = map(int, ends.groups()) if ends else (part, part)
        if isinstance(part, str) and re.fullmatch(r"\d+(\.\.|:)\d+", part):
            raise InputError(f"{key} is {shown(part)}: write a range as 1-3")
        if not 0 <= fits(key, last, Seed) - fits(key, first, Seed) < _MOST:
            raise InputError(
                f"{key} has the range {shown(part)}: it should increase, over at most"
                f" {_MOST:,} seeds"
            )
        found.update(dict.fromkeys(range(first, last + 1)))
    if not found:
        raise InputError(f"{key} is empty: give at least one, such as {key}=1")
    return list(found)


def as_budgets(value: object) -> list[float | None]:
    """Read budgets of training compute such as ``0.5,1,2``; None: no budget.

    >>> as_budgets("0.5,1"), as_budgets(None)
    ([0.5, 1.0], [None])

    Raises:
        InputError: a value that is not a positive number.
    """
    parts = as_list(value)
    if isinstance(value, str) and not all(part.strip() for part in value.split(",")):
        raise InputError(f"budget={value} has an empty value: write budget=1,2, for example")
    return [None if part is None else float(fits("budget", part, Positive)) for part in parts]


def as_bytes(value: object) -> int | None:
    """Read a number of bytes; None: no limit.

    >>> as_bytes(5000), as_bytes("100kB"), as_bytes("1.5MB")
    (5000, 100000, 1500000)

    Raises:
        InputError: another value.
    """
    if value is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?(?:([kMG]?)B)?", str(value))
    if found is None:
        raise InputError(f"memory is {shown(value)}: give bytes, such as 5000, 100kB or 1.5MB")
    return round(float(found[1]) * 1000 ** " kMG".index(found[2] or " "))


def plain(value: object) -> Any:
    """Convert tuples to lists and paths to texts, which YAML can store."""
    if isinstance(value, dict):
        return {key: plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def flat(config: Mapping[str, object], above: str = "") -> Iterator[tuple[str, Any]]:
    """Flatten settings to dotted names.

    An empty mapping, such as a plugin without settings, is a value. So is the order of several
    plugins.

    >>> dict(flat({"seed": 1, "scenario": {"name": "disjoint", "n_tasks": 5}, "parent": {}}))
    {'seed': 1, 'scenario.name': 'disjoint', 'scenario.n_tasks': 5, 'parent': {}}

    Args:
        config: settings of a run or group.
        above: prefix of the names.
    """
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            if key in BY_NAME and len(value) > 1:
                yield f"{above}{key}", ", ".join(map(str, value))
            yield from flat(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def divided(text: str) -> list[str]:
    """Split a text at the commas outside of brackets.

    >>> divided("[1,[2,3]], [4]")
    ['[1,[2,3]]', '[4]']
    """
    depth, parts = 0, [""]
    for letter in text:
        depth += (letter in "[{(") - (letter in "]})")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts]


def merged(base: Arguments, top: Arguments) -> Arguments:
    """Merge ``top`` over ``base``, mapping by mapping."""
    both = {
        key: merged(base[key], top[key])
        for key in base.keys() & top.keys()
        if isinstance(base[key], dict) and isinstance(top[key], dict)
    }
    return {**base, **top, **both}

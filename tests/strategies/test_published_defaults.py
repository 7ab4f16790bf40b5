"""Defaults of methods and options stand in one table, so that none changes unnoticed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.strategies import PLUGINS, STRATEGIES, OnlineStrategy, plugin_class, strategy_class

TABLE = Path(__file__).parents[1] / "golden/defaults.txt"


def of_method(name: str) -> dict[str, Any]:
    """Defaults that a method declares, and those of the options that it is defined with."""
    cls = strategy_class(name)
    found = differing(defaults(cls), defaults(OnlineStrategy))
    for plugin in cls.own_plugins:
        own = {key: getattr(plugin, key) for key in type(plugin).settings()}
        changed = differing(own, defaults(type(plugin)))
        found |= {f"{type(plugin).__name__}.{key}": value for key, value in changed.items()}
    return found


def defaults(cls: Any) -> dict[str, Any]:
    return {key: setting.default for key, setting in cls.settings().items() if key != "head"}


def differing(values: dict[str, Any], common: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in values.items() if k not in common or v != common[k]}


@pytest.mark.parametrize("of", ["methods", "options"])
def test_defaults_are_those_of_the_table(of: str) -> None:
    written = [
        line.split() for line in TABLE.read_text().split("\n\n")[of == "options"].split("\n")
    ]
    if of == "methods":
        found = {name: of_method(name) for name in STRATEGIES}
    else:
        found = {name: defaults(plugin_class(name)) for name in PLUGINS}
    for name, values in found.items():
        assert [name, *(f"{k}={v}".replace(" ", "") for k, v in values.items())] in written
    assert len(written) == len(found)

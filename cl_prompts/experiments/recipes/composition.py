"""Head, form of prompts and plugins of a strategy, as recipes write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.signatures import parameters
from cl_prompts.experiments.recipes.validation import validated
from cl_prompts.experiments.recipes.values import by_name
from cl_prompts.strategies import PLUGINS, plugin_outline, strategy_outline
from cl_prompts.strategies.base.outlines import outlined

#: settings of a strategy that hold further settings
NESTED = ("head", "prompt_form", "plugins")


def composed(strategy: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The nested settings of a strategy with every default filled in, as plain data.

    Args:
        strategy: short or dotted name.
        given: settings of the strategy, of which the nested ones are read.

    Raises:
        InputError: an unknown name or setting, or a value of the wrong type.
    """
    kind = strategy_outline(strategy)
    found: dict[str, Any] = {}
    for key in NESTED:
        if key not in kind.settings():
            continue
        where = f"{key} of strategy {strategy}"
        if key == "head":
            head = kind.settings()["head"].default
            found[key] = _filled(where, type(head), head.given, given.get(key))
            continue
        names = by_name(where, given.get(key))
        if key == "plugins":
            # The method's own plugins first, as it gives them; named ones are laid over these.
            own = {_name_of(plugin): plugin.given for plugin in kind.own_plugins}
            found[key] = {
                name: _filled(
                    f"{name} of strategy {strategy}",
                    plugin_outline(name),
                    own.get(name, {}),
                    settings,
                )
                for name, settings in {**dict.fromkeys(own), **names}.items()
            }
        else:
            found[key] = {
                name: _filled(f"{name} of strategy {strategy}", _form(name), {}, settings)
                for name, settings in names.items()
            }
    return found


def _filled(where: str, kind: Any, default: Mapping[str, Any], given: Any) -> dict[str, Any]:
    """Settings of a value or plugin: given ones over the method's over those of the class."""
    if not (given is None or isinstance(given, Mapping)):
        first = next(iter(parameters(kind)))
        raise InputError(
            f"{where} is {shown(given)}: it maps settings to values, as in {first}=..."
        )
    return validated(where, parameters(kind), {**default, **(given or {})})


def _form(name: str) -> Any:
    forms = outlined("cl_prompts.strategies.base.prompt_form", "PROMPT_FORMS")
    if name not in forms:
        raise unknown("form of prompts", name, forms)
    return forms[name]


def _name_of(plugin: Any) -> str:
    """Short or dotted name of a plugin's class."""
    kind = type(plugin)
    package, _, module = kind.__module__.rpartition(".")
    if package == "cl_prompts.strategies.plugins" and module in PLUGINS:
        return module
    return f"{kind.__module__}:{kind.__qualname__}"

"""Settings checked against the types of a signature, with a sentence for each mistake: those of one
thing, and all of a strategy, with head, form of prompts and plugins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from cl_prompts.checks import fits, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.recipe_files import merged
from cl_prompts.experiments.recipes.signatures import (
    Parameters,
    common_parameters,
    form_parameters,
    head_parameters,
    own_plugins,
    plugin_needs,
    plugin_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.values import as_list, by_name, plain

#: settings of a strategy that hold further settings
NESTED = ("head", "prompt_form", "plugins")


def strategy_options(
    recipe: Mapping[str, Any], strategy: str, running: Sequence[str]
) -> dict[str, Any]:
    """Arguments of a strategy: its own settings over those that all share, checked, with every
    default filled in.

    Args:
        recipe: its sections.
        strategy: short or dotted name.
        running: the strategies that run.

    Raises:
        InputError: an unknown variant, setting or plugin, or a value of the wrong type.
    """
    accepted = strategy_parameters(strategy)
    # Some of what all share a strategy may have no use for: prototypes have no head to train.
    without = set(common_parameters()) - set(accepted)
    shared = {key: value for key, value in recipe["training"].items() if key not in without}
    if "plugins" in shared:
        shared["plugins"] = _shared_plugins(shared["plugins"], accepted, running)
    given = merged(shared, _own(recipe, strategy))
    inner = {key for key in NESTED if key in accepted}
    flat = validated(
        f"strategy {strategy}",
        {key: accepted[key] for key in accepted if key not in inner},
        {key: given[key] for key in given if key not in inner},
    )
    return {**flat, **composed(strategy, given)}


def _own(recipe: Mapping[str, Any], strategy: str) -> dict[str, Any]:
    """Settings of a strategy alone; those of a variant stand over those of its strategy."""
    settings: Mapping[str, dict[str, Any]] = recipe["strategies"]
    base, at, _ = strategy.partition("@")
    if at and strategy not in settings:
        variants = [name for name in settings if name.startswith(f"{base}@")]
        raise unknown(f"variant of {base}", strategy, variants)
    return merged(settings.get(base, {}), settings.get(strategy, {}))


def _shared_plugins(
    given: Any, accepted: Mapping[str, Any], running: Sequence[str]
) -> dict[str, Any]:
    """Plugins that all strategies share, but for those that only others of the run can have."""
    of_run = {key for name in running for key in strategy_parameters(name)}
    # Where no strategy of the run can have it, it stays, and is refused with a reason.
    missing = of_run - set(accepted)
    plugins = by_name("plugins", given)
    return {name: own for name, own in plugins.items() if plugin_needs(name) not in missing}


def validated(where: str, accepted: Parameters, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with every default filled in, as plain data.

    Args:
        where: owner of the settings, for messages ("strategy mvp").
        accepted: the settings that exist.
        values: the settings that were given.

    Raises:
        InputError: an unknown setting, a value of the wrong type, or a missing one without default.
    """
    for key in values:
        if key not in accepted:
            raise unknown(f"key of {where}", str(key), accepted)
    found = {}
    for key, (kind, default, _) in accepted.items():
        if key not in values and default is ...:
            raise InputError(f"{where} has no {key}: add {key}=VALUE")
        found[key] = plain(_fitting(where, key, values[key], kind) if key in values else default)
    return found


def _fitting(where: str, key: str, value: Any, kind: Any) -> Any:
    """The value as its type has it: a text ``a,b`` is a list where only that fits."""
    try:
        return fits(key, value, kind, of=where)
    except InputError:
        if isinstance(value, str):
            with suppress(InputError):
                return fits(key, as_list(value), kind)
        raise


def composed(strategy: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The nested settings of a strategy with every default filled in, as plain data.

    Args:
        strategy: short or dotted name.
        given: settings of the strategy, of which the nested ones are read.

    Raises:
        InputError: an unknown name or setting, or a value of the wrong type.
    """
    accepted = strategy_parameters(strategy)
    found: dict[str, Any] = {}
    for key in NESTED:
        if key not in accepted:
            continue
        where = f"{key} of strategy {strategy}"
        default = accepted[key].default
        if key == "head":
            found[key] = _filled(where, head_parameters(), default or {}, given.get(key))
            continue
        names = by_name(where, given.get(key))
        # The method's own plugins first, as it gives them; named ones are laid over these.
        own = own_plugins(strategy) if key == "plugins" else {}
        known = plugin_parameters if key == "plugins" else form_parameters
        found[key] = {
            name: _filled(
                f"{name} of strategy {strategy}", known(name), own.get(name, {}), settings
            )
            for name, settings in {**dict.fromkeys(own), **names}.items()
        }
    return found


def _filled(
    where: str, accepted: Parameters, default: Mapping[str, Any], given: Any
) -> dict[str, Any]:
    """Settings of a value or plugin: given ones over the method's over those of the class."""
    if not (given is None or isinstance(given, Mapping)):
        first = next(iter(accepted))
        raise InputError(
            f"{where} is {shown(given)}: it maps settings to values, as in {first}=..."
        )
    return validated(where, accepted, {**default, **(given or {})})

"""Overrides: ``key=value`` texts of the command line, set in a recipe."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cl_prompts.catalog import catalog
from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import (
    nested_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.recipe_files import (
    NAMED,
    SECTIONS,
    TOP,
    Recipe,
    kept,
    running,
)
from cl_prompts.experiments.recipes.values import BY_NAME, as_list, by_name, parsed
from cl_prompts.strategies import PLUGINS, STRATEGIES
from cl_prompts.user_code import label_of

#: usual names of settings that have other names here
_MEANT = {
    "batch_size": "train_mb_size, for training, or evaluation.batch_size",
    "epochs": "train_epochs",
    "learning_rate": "lr",
    "mem_size": "buffer_size",
    "memory_size": "buffer_size",
}
#: section or strategy, and the path of a setting in it
Place = tuple[str, tuple[str, ...]]


def override(recipe: Recipe, texts: Sequence[str]) -> None:
    """Set ``key=value`` texts in a recipe, in place.

    Args:
        recipe: with all its sections.
        texts: ``key=value``. A key is dotted (``scenario.n_tasks``, ``mvp.lr``,
            ``mvp.head.input``, ``mvp.self_regulation.kind`` of a plugin), or bare where only one
            section has it. Shared settings of strategies are set for each of them. ``dataset=``,
            ``scenario=`` and ``backbone=`` set the name; ``strategy=`` and ``seed=`` take lists,
            ``seed=`` also ranges such as ``1-5``. The last of equal keys counts.

    Raises:
        InputError: an unknown key or name, or a key that could mean two settings.
    """
    settings = []
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            hint = f": write strategy={text}" if text in STRATEGIES else ""
            raise InputError(f"{shown(text)} is not of the form key=value{hint}")
        # Names of strategies, data sets and so on decide which other keys exist.
        if not _choose(recipe, key.strip(), parsed(value)):
            settings.append((key.strip(), parsed(value)))
    if not settings:
        return
    dotted = {key.rpartition(".")[0].removeprefix("plugins.") for key, _ in settings}
    own_plugins = [name for name in dotted - {*running_strategies(recipe)} if ":" in name]
    keys = _keys(recipe, own_plugins)
    found = [(*_place(keys, key), value) for key, value in settings]
    # Settings of one strategy replace shared ones, a part replaces the whole.
    found.sort(key=lambda entry: (entry[0] not in (*SECTIONS, "training"), len(entry[1])))
    for place, path, value in found:
        _set(recipe, place, path, value)


def running_strategies(recipe: Recipe) -> list[str]:
    """Return the strategies that a recipe runs."""
    run: list[str] = recipe["run"]
    return list(recipe["strategies"]) if run == ["all"] else run


def _choose(recipe: Recipe, key: str, value: Any) -> bool:
    """Set a key that is top-level or names a thing, and return whether it is one."""
    section = key.removesuffix(".name")
    if key in ("strategy", "strategies", "run"):
        recipe["run"] = running(key, value)
    elif key in ("seed", "seeds"):
        recipe["seeds"] = as_list(value)
    elif key in TOP:
        recipe[key] = value
    elif section in NAMED:
        if not isinstance(value, str):
            raise InputError(f"{section} is {shown(value)}: it should be a name")
        recipe[section] = {**kept(section, recipe.get(section) or {}, value), "name": value}
    else:
        return False
    return True


def _keys(recipe: Recipe, own_plugins: Collection[str]) -> dict[str, list[Place]]:
    """The places that each key of a recipe, in every spelling, could mean."""
    strategies = {name: strategy_parameters(name) for name in running_strategies(recipe)}
    # Shared settings that no strategy of this run has are unknown here.
    shared = catalog()["training"].keys() & {key for own in strategies.values() for key in own}
    found: dict[str, list[Place]] = {}
    for section in SECTIONS:
        name = str((recipe.get(section) or {}).get("name", ""))
        accepted = section_parameters(section, name) if name or section not in NAMED else {}
        for key in accepted:
            for written in (key, f"{section}.{key}"):
                found.setdefault(written, []).append((section, (key,)))
    for written, path in _paths(shared, own_plugins):
        found.setdefault(written, []).append(("training", path))
        found[f"training.{written}"] = [("training", path)]
    general = set(found)
    for name, accepted in strategies.items():
        for written, path in _paths(accepted, own_plugins):
            for prefix in _names_of(name):
                found.setdefault(f"{prefix}.{written}", []).insert(0, (name, path))
            # Variants have the settings of their strategy.
            if written not in general and name.partition("@")[0] not in {*strategies} - {name}:
                found.setdefault(written, []).append((name, path))
    return found


def _paths(
    accepted: Collection[str], own_plugins: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Keys and paths of a strategy's settings, also those of its head, prompt form and plugins."""
    for key in accepted:
        yield key, (key,)
    if "head" in accepted:
        for key in section_parameters("head"):
            yield f"head.{key}", ("head", key)
    for form in catalog()["prompt_forms"] if "prompt_form" in accepted else ():
        for key in nested_parameters("prompt_form", form):
            yield f"prompt_form.{form}.{key}", ("prompt_form", form, key)
    for plugin in (*PLUGINS, *own_plugins) if "plugins" in accepted else ():
        yield f"plugins.{plugin}", ("plugins", plugin)
        for key in nested_parameters("plugins", plugin):
            yield f"{plugin}.{key}", ("plugins", plugin, key)
            yield f"plugins.{plugin}.{key}", ("plugins", plugin, key)


def _names_of(strategy: str) -> set[str]:
    """Prefixes of a strategy's keys: its name, its label, its aliases."""
    base, at, variant = strategy.partition("@")
    aliases = STRATEGIES[base].aliases if base in STRATEGIES else ()
    return {strategy, label_of(strategy), *(f"{alias}{at}{variant}" for alias in aliases)}


def _place(keys: Mapping[str, list[Place]], key: str) -> Place:
    found = keys.get(key, [])
    if key in _MEANT and not any(place == "training" for place, _ in found):
        raise InputError(f"key {key!r} is not clear: write {_MEANT[key]}")
    if len({place for place, _ in found}) > 1 and "." not in key:
        choices = " or ".join(f"{label_of(place)}.{key}" for place, _ in found)
        raise InputError(f"key {key!r} could mean {choices}: write one of them")
    if not found:
        raise _unknown_key(keys, key)
    return found[0]


def _unknown_key(keys: Collection[str], key: str) -> InputError:
    head, dot, _ = key.partition(".")
    aliases = {alias for entry in STRATEGIES.values() for alias in entry.aliases}
    if dot and head in {*STRATEGIES, *aliases} and not any(k.startswith(f"{head}.") for k in keys):
        return InputError(f"{key} needs strategy {head}: add strategy={head}, or leave it out")
    for kind in ("scenarios", "datasets", "strategies"):
        owners = [name for name, entry in catalog()[kind].items() if key in entry["settings"]]
        if owners:
            return InputError(f"unknown key {key!r} here: it belongs to {', '.join(owners)}")
    alike = [known for known in keys if known.count(".") == key.count(".")]
    return unknown("key", key, [*alike, *(() if dot else (*TOP, "seed", "strategy", *NAMED))])


def _set(recipe: Recipe, place: str, path: Sequence[str], value: Any) -> None:
    # Strategies may run without settings in the recipe.
    if place in running_strategies(recipe):
        recipe["strategies"].setdefault(place, {})
    settings = recipe["strategies"].get(place)
    _put(recipe.setdefault(place, {}) if settings is None else settings, path, value)
    # A shared setting of the command line replaces what the recipe says of one strategy.
    if place == "training":
        for settings in recipe["strategies"].values():
            _drop(settings, path)


def _put(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    first, *rest = path
    if not rest:
        settings[first] = by_name(first, value) if first in BY_NAME else value
        return
    inner = settings.get(first)
    inner = by_name(first, inner) if first in BY_NAME or inner is None else inner
    if not isinstance(inner, dict):
        raise InputError(f"{first} is {shown(inner)}: it has no {rest[0]}")
    settings[first] = dict(inner)  # other recipes may share it
    _put(settings[first], rest, value)


def _drop(settings: dict[str, Any], path: Sequence[str]) -> None:
    first, *rest = path
    if not rest:
        settings.pop(first, None)
    elif isinstance(settings.get(first), dict):
        settings[first] = dict(settings[first])
        _drop(settings[first], rest)

"""Settings from the command line: ``key=value`` texts, each put where its key belongs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from cl_prompts.catalog import catalog
from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.recipes.recipe_files import NAMED, SECTIONS, Recipe, kept, running
from cl_prompts.experiments.recipes.signatures import (
    common_parameters,
    form_parameters,
    head_parameters,
    plugin_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.experiments.recipes.values import BY_NAME, as_list, by_name, parsed
from cl_prompts.strategies import PLUGINS, STRATEGIES

#: usual names of settings that are called otherwise here
_MEANT = {
    "batch_size": "train_mb_size, for training, or evaluation.batch_size",
    "epochs": "train_epochs",
    "learning_rate": "lr",
    "mem_size": "buffer_size",
    "memory_size": "buffer_size",
}
#: top-level keys with their defaults
TOP: dict[str, Any] = {
    "seeds": [1],
    "stream_seed": None,
    "device": "auto",
    "num_workers": None,
    "checkpoint_every": None,
    "tracker": None,
}
_RUN = ("strategy", "strategies", "run")
#: section or strategy, and the path of a setting in it
Place = tuple[str, tuple[str, ...]]


def override(recipe: Recipe, texts: Sequence[str]) -> None:
    """Change a recipe in place.

    Args:
        recipe: with all its sections.
        texts: ``key=value``. A key is dotted (``scenario.n_tasks``, ``mvp.lr``,
            ``mvp.head.input``, ``mvp.self_regulation.kind`` of a plugin), or bare where only one
            section has it. Settings that all strategies share are set for each of them.
            ``dataset=``, ``scenario=`` and ``backbone=`` set the name; ``strategy=`` and ``seed=``
            take lists, ``seed=`` also ranges such as ``1-5``. Of a key given twice the last counts.

    Raises:
        InputError: a key or name that does not exist, or one that could mean two settings.
    """
    pairs = [_pair(text) for text in texts]
    # First the choices that decide which keys exist.
    settings = [(key, value) for key, value in pairs if not _choose(recipe, key, value)]
    if not settings:
        return
    dotted = {key.rpartition(".")[0].removeprefix("plugins.") for key, _ in settings}
    own_plugins = [name for name in dotted - {*running_strategies(recipe)} if ":" in name]
    keys = _keys(recipe, own_plugins)
    found = [(*_place(keys, key), value) for key, value in settings]
    # What is set for one strategy stands over what is set for all, a part over the whole.
    found.sort(key=lambda entry: (entry[0] not in (*SECTIONS, "training"), len(entry[1])))
    for place, path, value in found:
        _set(recipe, place, path, value)


def running_strategies(recipe: Recipe) -> list[str]:
    """Names of the strategies that a recipe runs."""
    run: list[str] = recipe["run"]
    return list(recipe["strategies"]) if run == ["all"] else run


def _pair(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        hint = f": write strategy={text}" if text in STRATEGIES else ""
        raise InputError(f"{shown(text)} is not of the form key=value{hint}")
    return key.strip(), parsed(value)


def _choose(recipe: Recipe, key: str, value: Any) -> bool:
    """Whether a key decides which other keys exist, or belongs to no section; then it is set."""
    section = key.removesuffix(".name")
    if key in _RUN:
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
    """What each key that a recipe accepts stands for, written in every way."""
    strategies = {name: strategy_parameters(name) for name in running_strategies(recipe)}
    # A shared setting that no strategy of this run has would change nothing, so it is unknown.
    shared = common_parameters().keys() & {key for found in strategies.values() for key in found}
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
            # Variants take what is said of their strategy.
            if written not in general and name.partition("@")[0] not in {*strategies} - {name}:
                found.setdefault(written, []).append((name, path))
    return found


def _paths(
    accepted: Collection[str], own_plugins: Collection[str]
) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Settings of a strategy, and those inside of its head, prompts and plugins, as keys write
    them."""
    for key in accepted:
        yield key, (key,)
    if "head" in accepted:
        for key in head_parameters():
            yield f"head.{key}", ("head", key)
    for form in catalog()["prompt_forms"] if "prompt_form" in accepted else ():
        for key in form_parameters(form):
            yield f"prompt_form.{form}.{key}", ("prompt_form", form, key)
    for plugin in (*PLUGINS, *own_plugins) if "plugins" in accepted else ():
        yield f"plugins.{plugin}", ("plugins", plugin)
        for key in plugin_parameters(plugin):
            yield f"{plugin}.{key}", ("plugins", plugin, key)
            yield f"plugins.{plugin}.{key}", ("plugins", plugin, key)


def _names_of(strategy: str) -> set[str]:
    """Names by which keys may call a strategy: in full, its label, its aliases."""
    base, at, variant = strategy.partition("@")
    aliases = STRATEGIES[base].aliases if base in STRATEGIES else ()
    return {strategy, label_of(strategy), *(f"{alias}{at}{variant}" for alias in aliases)}


def _place(keys: Mapping[str, list[Place]], key: str) -> Place:
    """The one thing that a key stands for."""
    found = keys.get(key, [])
    if key in _MEANT and not any(place == "training" for place, _ in found):
        raise InputError(f"key {key!r} is not clear: write {_MEANT[key]}")
    if len({place for place, _ in found}) > 1 and "." not in key:
        choices = " or ".join(f"{label_of(place)}.{key}" for place, _ in found)
        raise InputError(f"key {key!r} could mean {choices}: write one of them")
    if not found:
        raise _nowhere(keys, key)
    return found[0]


def _nowhere(keys: Collection[str], key: str) -> InputError:
    """The error for a key that nothing of this recipe has."""
    head, dot, _ = key.partition(".")
    aliases = {alias for entry in STRATEGIES.values() for alias in entry.aliases}
    if dot and head in {*STRATEGIES, *aliases} and not any(k.startswith(f"{head}.") for k in keys):
        return InputError(
            f"{key} is of a strategy that does not run: add strategy={head}, or leave it out"
        )
    for kind in ("scenarios", "datasets", "strategies"):
        owners = [name for name, entry in catalog()[kind].items() if key in entry["settings"]]
        if owners:
            return InputError(f"unknown key {key!r} here: it belongs to {', '.join(owners)}")
    alike = [known for known in keys if known.count(".") == key.count(".")]
    return unknown("key", key, [*alike, *(() if dot else (*TOP, "seed", "strategy", *NAMED))])


def _set(recipe: Recipe, place: str, path: Sequence[str], value: Any) -> None:
    # A running strategy without settings in the recipe gets its first one here.
    if place in running_strategies(recipe):
        recipe["strategies"].setdefault(place, {})
    settings = recipe["strategies"].get(place)
    _put(recipe.setdefault(place, {}) if settings is None else settings, path, value)
    # Said last, and of all strategies: it replaces what the recipe says of one.
    if place == "training":
        for settings in recipe["strategies"].values():
            _drop(settings, path)


def _put(settings: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a setting, or one within it."""
    first, *rest = path
    if not rest:
        settings[first] = by_name(first, value) if first in BY_NAME else value
        return
    inner = settings.get(first)
    inner = by_name(first, inner) if first in BY_NAME or inner is None else inner
    if not isinstance(inner, dict):
        raise InputError(f"{first} is {shown(inner)}: it has no {rest[0]}")
    # A copy: the recipe that is laid below may be shared.
    settings[first] = dict(inner)
    _put(settings[first], rest, value)


def _drop(settings: dict[str, Any], path: Sequence[str]) -> None:
    """Remove a setting, or one within it, where it is there."""
    first, *rest = path
    if not rest:
        settings.pop(first, None)
    elif isinstance(settings.get(first), dict):
        settings[first] = dict(settings[first])
        _drop(settings[first], rest)

"""Overrides: ``key=value`` texts of the command line, set in a recipe."""

from collections.abc import Collection, Iterator, Mapping, Sequence

from cl_prompts.catalog import catalog
from cl_prompts.checks import doubled, shown
from cl_prompts.errors import MEANT, InputError, all_of, unknown
from cl_prompts.experiments.recipes.parameters import LISTS, NESTED, parameters
from cl_prompts.experiments.recipes.recipe_files import NAMED, SECTIONS, TOP, Recipe, kept, running
from cl_prompts.experiments.recipes.values import as_list, by_name, parsed
from cl_prompts.strategies import PLUGINS, STRATEGIES, strategy_class
from cl_prompts.user_code import label_of

#: usual names of settings that have other names here
_MEANT = MEANT | {
    "batch_size": "train_mb_size, for training, or evaluation.batch_size",
    "optimizer": "lr and the like; for another optimizer override default_optimizer in Python",
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
            ``scenario=`` and ``backbone=`` set the name; ``strategy=``, ``seed=`` and ``budget=``
            take lists, ``seed=`` also ranges such as ``1-5``. The last of equal settings counts.

    Raises:
        InputError: an unknown key or name, a list that is given twice, a key that could mean two
            settings, or ``online_iter`` beside ``budget``.
    """
    settings: list[tuple[str, object]] = []
    lists = [text for text in texts if text.startswith(("strategy=", "seed="))]
    if twice := doubled(text.partition("=")[0] for text in lists):
        values = ",".join(text.partition("=")[2] for text in lists if text.startswith(twice))
        raise InputError(f"{twice} is given twice: write {twice}={values}")
    for text in texts:
        key, sign, value = text.partition("=")
        if not sign or not key:
            names = [one for one in lists if one.startswith("strategy=")] or ["strategy="]
            names += [one for one in texts if one in STRATEGIES]
            hint = f": write {','.join(names).replace('=,', '=')}" if text in STRATEGIES else ""
            raise InputError(f"{shown(text)} is not of the form key=value, without blanks{hint}")
        # Names of strategies, data sets and so on decide which other keys exist.
        if not _choose(recipe, key.strip(), parsed(value)):
            settings.append((key.strip(), parsed(value)))
    if recipe["run"] == ["all"]:
        # Joint training fits no budget.
        free = recipe["budget"] is None and recipe["memory"] is None
        names = recipe["strategies"]
        recipe["run"] = [one for one in names if free or not strategy_class(one).whole_stream]
    if recipe["budget"] is not None and any(key.endswith("online_iter") for key, _ in settings):
        raise InputError("budget replaces online_iter: leave one of them out")
    if not settings:
        return
    keys = _keys(recipe, [key for key, _ in settings])
    if "lr" not in keys and any(key == "lr" for key, _ in settings):
        raise InputError(f"{all_of(recipe['run'])} has no lr: it is solved, not trained")
    found = [(*_place(keys, key), value) for key, value in settings]
    # Settings of one strategy replace shared ones, a part replaces the whole.
    found.sort(key=lambda entry: (entry[0] not in (*SECTIONS, "training"), len(entry[1])))
    for owner, path, given in found:
        _set(recipe, owner, path, given)


def _choose(recipe: Recipe, key: str, value: object) -> bool:
    """Set a key that is top-level or names a thing, and return whether it is one."""
    section = key.removesuffix(".name")
    if key in ("strategy", "strategies", "run"):
        recipe["run"] = running(key, value)
    elif key in ("seed", "seeds"):
        recipe["seeds"] = as_list(value)
    elif key in TOP:
        recipe[key] = value
    elif section in NAMED:
        name = str(value)
        recipe[section] = {**kept(section, recipe.get(section, {}), name), "name": name}
    else:
        return False
    return True


def _keys(recipe: Recipe, typed: Sequence[str]) -> dict[str, list[Place]]:
    """The places that each key of a recipe, dotted or bare, could mean."""
    strategies = {name: parameters("strategy", name) for name in recipe["run"]}
    # Shared settings that no strategy of this run has are unknown here.
    of_run = {key for own in strategies.values() for key in own}
    owners: dict[str, Collection[str]] = {}
    for section in SECTIONS:
        name = recipe.get(section, {}).get("name", "")
        if name or section not in LISTS:
            owners[section] = parameters(section, name)
    owners["training"] = [key for key in catalog()["training"] if key in of_run]
    own_plugins = {key.rpartition(".")[0].removeprefix("plugins.") for key in typed if ":" in key}
    found: dict[str, list[Place]] = {}
    general: set[str] = set()
    for owner, accepted in (owners | strategies).items():
        # A bare key means a general setting first; variants have those of their strategy.
        hidden = general if owner in strategies else ()
        variant = owner.partition("@")[0] in {*strategies} - {owner}
        for path in _paths(accepted, own_plugins - {*strategies}):
            written = ".".join(path).removeprefix("plugins.")
            found.update(
                {f"{name}.{written}": [(owner, path)] for name in (owner, label_of(owner))}
            )
            if written not in hidden and not variant:
                found.setdefault(written, []).append((owner, path))
        if owner not in strategies:
            general = set(found)
    return found


def _paths(accepted: Collection[str], own_plugins: Collection[str]) -> Iterator[tuple[str, ...]]:
    """Paths of settings, also those within a strategy's head, prompt form and plugins."""
    for key in accepted:
        yield (key,)
    for key in parameters("head") if "head" in accepted else ():
        yield "head", key
    groups = {"prompt_form": catalog()["prompt_forms"], "plugins": (*PLUGINS, *own_plugins)}
    for group, names in groups.items():
        for name in names if group in accepted else ():
            for key in parameters(NESTED[group], name):
                yield group, name, key


def _place(keys: Mapping[str, list[Place]], key: str) -> Place:
    if key in _MEANT:
        raise InputError(f"key {key!r} is not clear: write {_MEANT[key]}")
    found = keys.get(key.removeprefix("plugins.").replace(".plugins.", "."), [])
    if len(found) > 1:
        choices = " or ".join(f"{label_of(owner)}.{key}" for owner, _ in found)
        raise InputError(f"key {key!r} could mean {choices}: write one of them")
    if not found:
        raise _unknown_key(keys, key)
    return found[0]


def _unknown_key(keys: Collection[str], key: str) -> InputError:
    head, dot, _ = key.partition(".")
    if dot and head in STRATEGIES and not any(known.startswith(f"{head}.") for known in keys):
        return InputError(f"{key} needs strategy {head}: add strategy={head}, or leave it out")
    for kind in ("scenarios", "datasets", "strategies"):
        owners = [name for name, entry in catalog()[kind].items() if key in entry["settings"]]
        if owners:
            return InputError(f"unknown key {key!r} here: it belongs to {', '.join(owners)}")
    alike = [known for known in keys if known.count(".") == key.count(".")]
    return unknown("key", key, [*alike, *(() if dot else (*TOP, "seed", "strategy", *NAMED))])


def _set(recipe: Recipe, owner: str, path: Sequence[str], value: object) -> None:
    *above, last = path
    strategies = recipe["strategies"]
    # A shared setting of the command line replaces what the recipe says of one strategy.
    for settings in strategies.values() if owner == "training" else ():
        for key in above:
            settings = settings.get(key, {})
        settings.pop(last, None)
    sections = recipe if owner in (*SECTIONS, "training") else strategies
    settings = sections.setdefault(owner, {})
    for key in above:
        settings = settings.setdefault(key, {})
    settings[last] = by_name(last, value) if last in NESTED else value

"""Recipes: YAML read into sections, merged over the recipe that they extend, and overridden."""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from cl_prompts.catalog import catalog
from cl_prompts.checks import doubled, is_one_name, shown
from cl_prompts.errors import MEANT, InputError, all_of, unknown
from cl_prompts.experiments.recipes.parameters import CODE, LISTS, NESTED, parameters, strategy_name
from cl_prompts.experiments.recipes.values import (
    Arguments,
    as_list,
    by_name,
    merged,
    parsed,
    yaml_of,
)
from cl_prompts.strategies import PLUGINS, STRATEGIES, strategy_class
from cl_prompts.user_code import check_trust, is_dotted, label_of

_HERE = Path(__file__).parent
#: sections that name one thing and hold its arguments
NAMED = ("dataset", "scenario", "backbone", "label_noise")
SECTIONS = (*NAMED, "evaluation")
#: sections, and keys beside them
Recipe = Arguments
#: top-level keys with their defaults
TOP: Recipe = {
    "seeds": [1],
    "stream_seed": None,
    "budget": None,
    "memory": None,
    "device": "auto",
    "num_workers": None,
    "checkpoint_every": None,
    "tracker": None,
    "tuned_on": None,
}
_KNOWN = (*SECTIONS, "training", "strategies", "run", "extends", *TOP)
#: usual names of settings that have other names here
_MEANT = MEANT | {
    "batch_size": "train_mb_size, for training, or evaluation.batch_size",
    "optimizer": "lr and the like; for another optimizer override default_optimizer in Python",
}
#: section or strategy, and the path of a setting in it
Place = tuple[str, tuple[str, ...]]


def recipe_names() -> dict[str, str]:
    """Return the recipes of the package: name -> first line of their description."""
    files = sorted(_HERE.glob("*.yaml"))
    return {file.stem: file.read_text().splitlines()[1].removeprefix("# ") for file in files}


def recipe_label(name: str) -> str:
    """Return the name of a recipe in tables and folders.

    >>> recipe_label("mine/quick.yaml"), recipe_label("...yaml")
    ('quick', 'recipe')
    """
    return Path(name).stem.strip(".") or "recipe"


def recipe_text(name: str) -> str:
    """Read the YAML of a recipe of the package, or of a file.

    Raises:
        InputError: an unknown name.
        OSError: the file cannot be read.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            # Some editors write a byte order mark.
            return Path(name).read_text(encoding="utf-8-sig")
        except FileNotFoundError as error:
            near = map(str, Path(name).parent.glob("*.y*ml"))
            raise unknown("recipe file", name, near) from error
        except UnicodeDecodeError as error:
            raise InputError(f"recipe {name} is not UTF-8: save it as UTF-8") from error
    file = _HERE / f"{name}.yaml"
    if is_one_name(name) and file.is_file():
        return file.read_text(encoding="utf-8")
    if "=" in name:
        raise InputError(f"the recipe is missing: write digits {shown(name)[1:-1]}, for example")
    if Path(name).is_dir():
        raise InputError(f"{name} is a folder: write a recipe for it with cl-prompts init {name}")
    if Path(f"{name}.yaml").is_file():
        raise InputError(f"unknown recipe {name!r}: did you mean '{name}.yaml'?")
    for kind in CODE:
        if name in catalog()[LISTS[kind]]:
            raise InputError(f"{name!r} is a {kind}, not a recipe: cl-prompts show {kind} {name}")
    raise unknown("recipe", name, recipe_names())


def load_recipe(name: str) -> Recipe:
    """Load a recipe, merged over the recipe that it ``extends``.

    ``strategies`` maps strategies to their settings, and ``run`` lists the strategies to run. The
    default of ``run`` is the recipe's own strategies; without any, ``run`` of the extended recipe.

    Raises:
        InputError: an unknown name, invalid YAML, or a section of the wrong form.
    """
    recipe: Recipe = {}
    for sections in reversed(_files(name)):
        for section in {"dataset", "scenario"} & recipe.keys():
            # Settings that the replacement of a data set or scenario does not have are dropped.
            if other := sections.get(section, {}).get("name"):
                recipe[section] = kept(section, recipe[section], str(other))
        recipe = merged(recipe, sections)
    return recipe


def check_recipe_code(name: str, overrides: Sequence[str], trust_code: bool) -> None:
    """Refuse a recipe that names user code, unless the code is trusted or typed as well.

    Raises:
        InputError: it would import other code.
    """
    code: list[str] = []
    # Before the recipes are merged, which imports data sets and scenarios.
    for sections in _files(name):
        strategies = sections.get("strategies", {})
        names = [sections.get(key, {}).get("name") for key in ("dataset", "scenario")]
        names += [*sections.get("run", ()), *strategies]
        for settings in (sections.get("training", {}), *strategies.values()):
            names += settings.get("plugins", ())
        code += [str(found) for found in names if is_dotted(str(found))]
    # Whole names: who types "mine:Method" did not type "e:Me".
    text = " ".join(overrides)
    typed = [found for found in code if re.search(rf"(?<![\w.]){re.escape(found)}(?!\w)", text)]
    try:
        check_trust(code, trust_code or typed)
    except InputError as error:
        raise InputError(f"recipe {name} cannot be used: {error}") from error


def _files(name: str) -> list[Recipe]:
    """Sections of a recipe's file, then of those that it extends."""
    sections = _sections(name)
    lower = sections.pop("extends", None)
    return [sections] if lower is None else [sections, *_files(str(lower))]


def _sections(name: str) -> Recipe:
    """Sections of one file, each a mapping; strategies by name."""
    try:
        recipe = yaml_of(recipe_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name} is not valid YAML: {error}") from error
    if not isinstance(recipe, dict):
        raise InputError(
            f"recipe {name} has no sections: map dataset, scenario, backbone and strategies to"
            " settings"
        )
    for key in recipe:
        if key not in _KNOWN:
            raise unknown(f"section of recipe {name}", str(key), _KNOWN)
    for section in (*SECTIONS, "training"):
        if section in recipe:
            recipe[section] = _settings(f"section {section!r} of recipe {name}", recipe[section])
    if "strategies" in recipe:
        given = by_name(f"section 'strategies' of recipe {name}", recipe["strategies"])
        recipe["strategies"] = {
            strategy_name(strategy): _settings(f"strategy {strategy} of recipe {name}", own)
            for strategy, own in given.items()
        }
        recipe.setdefault("run", list(recipe["strategies"]))
    if "run" in recipe:
        recipe["run"] = running(f"run of recipe {name}", recipe["run"])
    return recipe


def _settings(what: str, value: object) -> Arguments:
    """Settings by key; a text stands for a name, None for no settings."""
    if isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict | None):
        raise InputError(f"{what} is {shown(value)}: it should map settings to values")
    # Mappings, which merge over others.
    return {key: by_name(key, own) if key in NESTED else own for key, own in (value or {}).items()}


def running(key: str, value: object) -> list[str]:
    """Return the names of strategies to run; ``["all"]`` stands for all with settings.

    Raises:
        InputError: no name, or an unknown strategy.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) and "=" not in name for name in names):
        raise InputError(f"{key} is {shown(value)}: give a name, or several as a,b")
    if names == ["all"]:
        return names
    return list(dict.fromkeys(map(strategy_name, names)))


def kept(section: str, settings: Arguments, name: str) -> Arguments:
    """Return the settings of a section that ``name`` has as well.

    Raises:
        InputError: an unknown data set or scenario.
    """
    accepted = parameters(section, name) if section in LISTS else settings
    return {key: value for key, value in settings.items() if key in accepted}


# --------------------------------------------------------------------------------- overrides


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
        if name or section in ("backbone", "evaluation"):
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
    if head == "label_noise" and "label_noise.rate" not in keys:
        return InputError(f"{key} needs a kind of label noise: add label_noise=symmetric")
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

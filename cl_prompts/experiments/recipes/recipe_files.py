"""Recipe files: YAML read into sections and merged over the recipe that they extend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.catalog import catalog
from cl_prompts.checks import is_one_name, shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.parameters import section_parameters
from cl_prompts.experiments.recipes.values import (
    BY_NAME,
    as_list,
    by_name,
    in_one_line,
    merged,
    yaml_of,
)
from cl_prompts.strategies import canonical_name
from cl_prompts.user_code import check_trust, is_dotted

#: sections that name one thing and hold its arguments
NAMED = ("dataset", "scenario", "backbone")
SECTIONS = (*NAMED, "evaluation")
#: top-level keys with their defaults
TOP: dict[str, Any] = {
    "seeds": [1],
    "stream_seed": None,
    "orders": None,
    "device": "auto",
    "num_workers": None,
    "checkpoint_every": None,
    "tracker": None,
}
_KNOWN = (*SECTIONS, "training", "strategies", "run", "extends", *TOP)
#: kind of thing -> its list in ``settings.json``, and the key of a recipe that names it
_KINDS = {
    "strategy": ("strategies", "strategy"),
    "plugin": ("plugins", "plugins"),
    "scenario": ("scenarios", "scenario"),
    "dataset": ("datasets", "dataset"),
}
Recipe = dict[str, Any]


def recipe_names() -> dict[str, str]:
    """Return the recipes of the package: name -> first line of their description."""
    folder = resources.files(__package__)
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            lines = file.read_text().splitlines()
            comments = [line[1:].strip() for line in lines if line.startswith("#")]
            found[file.name.removesuffix(".yaml")] = comments[1] if len(comments) > 1 else ""
    return found


def recipe_label(name: str) -> str:
    """Return the name of a recipe in tables and folders.

    >>> recipe_label("mine/quick.yaml"), recipe_label("...yaml")
    ('quick', 'recipe')
    """
    return Path(name).stem.strip(".") or "recipe"


def recipe_text(name: str) -> str:
    """Read the YAML of a recipe of the package, or of a file.

    Raises:
        InputError: it does not exist or cannot be read.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            # Some editors write a byte order mark.
            return Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"recipe file {name} cannot be read: {reason}") from error
    file = resources.files(__package__).joinpath(f"{name}.yaml")
    if is_one_name(name) and file.is_file():
        return file.read_text(encoding="utf-8")
    if "=" in name:
        raise InputError(
            f"the recipe is missing before {shown(name)[1:-1]}."
            f" Write, for example, cl-prompts run digits {shown(name)[1:-1]}"
        )
    if Path(f"{name}.yaml").is_file():
        raise InputError(f"unknown recipe {name!r}: did you mean '{name}.yaml'?")
    for kind, (group, key) in _KINDS.items():
        if name in catalog()[group]:
            raise InputError(
                f"{name!r} is a {kind}, not a recipe. See cl-prompts show {kind} {name}, or run"
                f" cl-prompts run digits {key}={name}"
            )
    raise unknown("recipe", name, recipe_names())


def load_recipe(name: str, above: tuple[str, ...] = ()) -> Recipe:
    """Load a recipe, merged over the recipe that it ``extends``.

    ``strategies`` maps strategies to their settings, and ``run`` lists the strategies to run. The
    default of ``run`` is the recipe's own strategies; without any, ``run`` of the extended recipe.

    Raises:
        InputError: it does not exist, is not valid YAML, extends itself, or a section has the wrong
            form.
    """
    if name in above:
        raise InputError(f"recipe {name} extends itself through {', '.join(above)}")
    recipe = _sections(name)
    lower = recipe.pop("extends", None)
    if lower is None:
        return recipe
    if not isinstance(lower, str):
        raise InputError(f"recipe {name} extends {lower!r}: give the name of one recipe")
    return over(load_recipe(lower, (*above, name)), recipe)


def check_recipe_code(name: str, overrides: Sequence[str], trust_code: bool) -> None:
    """Refuse a recipe that names user code, unless the code is trusted or typed as well.

    Raises:
        InputError: it would import other code.
    """
    code: list[str] = []
    seen: list[str] = []
    lower: Any = name
    # Before the recipes are merged, which imports data sets and scenarios.
    while isinstance(lower, str) and lower not in seen:
        seen.append(lower)
        recipe = _sections(lower)
        code += _code_of(recipe)
        lower = recipe.get("extends")
    typed = [found for found in code if any(found in text for text in overrides)]
    try:
        check_trust(code, trust_code or typed)
    except InputError as error:
        raise InputError(f"recipe {name} cannot be used: {error}") from error


def _code_of(recipe: Recipe) -> list[str]:
    """Dotted names in the sections of one file."""
    strategies = recipe.get("strategies", {})
    names = [recipe.get(key, {}).get("name") for key in ("dataset", "scenario")]
    names += [recipe.get("tracker"), *recipe.get("run", ()), *strategies]
    for settings in (recipe.get("training", {}), *strategies.values()):
        names += by_name("plugins", settings.get("plugins"))
    return [str(found) for found in names if is_dotted(str(found))]


def _sections(name: str) -> Recipe:
    """Sections of one file, each a mapping; strategies by their canonical names."""
    try:
        recipe = yaml_of(recipe_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name} is not valid YAML: {in_one_line(error)}") from error
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
            what = f"section {section!r} of recipe {name}"
            recipe[section] = _mapping(what, recipe[section], named=section in NAMED)
    if "strategies" in recipe:
        given = recipe["strategies"]
        if isinstance(given, str | list):
            given = dict.fromkeys(map(str, as_list(given)))
        recipe["strategies"] = {
            canonical_name(str(strategy)): _mapping(f"strategy {strategy} of recipe {name}", own)
            for strategy, own in _mapping(f"section 'strategies' of recipe {name}", given).items()
        }
        recipe.setdefault("run", list(recipe["strategies"]))
    if "run" in recipe:
        recipe["run"] = running(f"run of recipe {name}", recipe["run"])
    return recipe


def running(key: str, value: Any) -> list[str]:
    """Return the canonical names of strategies to run; ``["all"]`` stands for all with settings.

    Raises:
        InputError: no name, an unknown strategy, or one named twice.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{key} is {shown(value)}: give a name, or several as a,b")
    if names == ["all"]:
        return names
    found = [canonical_name(name) for name in names]
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"{key} names {name!r} twice: name each strategy once")
    return found


def _mapping(what: str, value: Any, *, named: bool = False) -> dict[str, Any]:
    """Settings by name; None stands for none, and a text for a name where ``named``."""
    if value is None:
        return {}
    if named and isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise InputError(f"{what} is {shown(value)}: it should map settings to values")
    if named and not isinstance(value.get("name", ""), str):
        raise InputError(f"{what} has the name {shown(value['name'])}: give one text")
    # Mappings, which merge over others.
    return {key: by_name(key, own) if key in BY_NAME else own for key, own in value.items()}


def over(base: Mapping[str, Any], top: Mapping[str, Any]) -> Recipe:
    """Merge ``top`` over ``base``, section by section.

    Settings of a data set or scenario that its replacement does not have are dropped.
    """
    below = dict(base)
    for section in ("dataset", "scenario"):
        name = top.get(section, {}).get("name")
        if name is not None and section in below:
            below[section] = kept(section, below[section], name)
    return merged(below, top)


def kept(section: str, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return the settings of a section that ``name`` has as well.

    Raises:
        InputError: an unknown data set or scenario.
    """
    if section == "backbone":
        return dict(settings)
    accepted = section_parameters(section, name)
    return {key: value for key, value in settings.items() if key in accepted}

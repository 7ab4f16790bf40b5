"""Recipes as files: YAML in, sections out, laid over the recipe that they extend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.catalog import catalog
from cl_prompts.checks import shown
from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.experiments.recipes.signatures import section_parameters
from cl_prompts.experiments.recipes.values import (
    as_list,
    by_name,
    in_one_line,
    with_names,
    yaml_of,
)
from cl_prompts.own_code import check_trust
from cl_prompts.strategies import canonical_name

#: sections that choose one thing by ``name`` and hold its arguments
NAMED = ("dataset", "scenario", "backbone")
SECTIONS = (*NAMED, "evaluation")
Recipe = dict[str, Any]


def recipe_names() -> dict[str, str]:
    """Recipes of the package: name -> first line of description."""
    folder = resources.files(__package__)
    found = {}
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            lines = file.read_text().splitlines()
            comments = [line[1:].strip() for line in lines if line.startswith("#")]
            found[file.name.removesuffix(".yaml")] = comments[1] if len(comments) > 1 else ""
    return found


def recipe_label(name: str) -> str:
    """Name of a recipe in tables and folders: that of its file, without a dot at either end.

    >>> recipe_label("mine/quick.yaml"), recipe_label("...yaml")
    ('quick', 'recipe')
    """
    return Path(name).stem.strip(".") or "recipe"


def recipe_text(name: str) -> str:
    """YAML of a recipe of the package, or of a file.

    Raises:
        InputError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            # Some editors put a mark in front of UTF-8.
            return Path(name).read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InputError(f"recipe file {name} cannot be read: {reason}") from error
    if name in recipe_names():
        return resources.files(__package__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    if Path(f"{name}.yaml").is_file():
        raise InputError(f"unknown recipe {name!r}: did you mean '{name}.yaml'?")
    for kind in ("strategy", "plugin", "scenario", "dataset"):
        if name in catalog()[{"strategy": "strategies"}.get(kind, f"{kind}s")]:
            raise InputError(
                f"unknown recipe {name!r}: it is a {kind}, shown by cl-prompts show {kind} {name},"
                f" and chosen by {kind}={name} behind the name of a recipe, such as digits"
            )
    raise unknown("recipe", name, recipe_names())


def load_recipe(name: str, above: tuple[str, ...] = ()) -> Recipe:
    """Sections of a recipe, laid over those of the recipe that it ``extends``.

    ``strategies`` maps strategies to their settings, and ``run`` lists those that run. A recipe
    without ``run`` runs the strategies that it names itself; where it names none, those of the
    recipe that it extends.

    Raises:
        InputError: there is none, it is not valid YAML, a section has the wrong form, or it extends
            itself.
    """
    if name in above:
        raise InputError(f"recipe {name} extends itself, by way of {', '.join(above)}")
    recipe = _sections(name)
    lower = recipe.pop("extends", None)
    if lower is None:
        return recipe
    if not isinstance(lower, str):
        raise InputError(f"recipe {name} extends {lower!r}: it should be the name of one recipe")
    return over(load_recipe(lower, (*above, name)), recipe)


def check_recipe_code(name: str, overrides: Sequence[str], trust_code: bool) -> None:
    """Refuse a recipe that names code, unless that is trusted or typed on the command line, too.

    Raises:
        InputError: it would import something else.
    """
    code: list[str] = []
    seen: list[str] = []
    lower: Any = name
    # Before recipes are laid over each other, for which code that they name is looked up.
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
    """Sections of the file, each a mapping; strategies by their canonical names."""
    try:
        recipe = yaml_of(recipe_text(name))
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name} is not valid YAML: {in_one_line(error)}") from error
    if not isinstance(recipe, dict):
        raise InputError(
            f"recipe {name} holds no sections: it should map dataset, scenario, backbone,"
            " strategies to settings"
        )
    for section in (*SECTIONS, "training"):
        if section in recipe:
            what = f"section {section!r} of recipe {name}"
            recipe[section] = _mapping(what, recipe[section], named=section in NAMED)
    if "training" in recipe:
        recipe["training"] = with_names(recipe["training"])
    if "strategies" in recipe:
        recipe["strategies"] = _strategies(name, recipe["strategies"])
        recipe.setdefault("run", list(recipe["strategies"]))
    if "run" in recipe:
        recipe["run"] = running(f"run of recipe {name}", recipe["run"])
    return recipe


def _strategies(recipe: str, given: Any) -> dict[str, dict[str, Any]]:
    """Settings by strategy, from a mapping, a list or a text ``a,b``."""
    if isinstance(given, str | list):
        given = dict.fromkeys(map(str, as_list(given)))
    settings = _mapping(f"section 'strategies' of recipe {recipe}", given)
    return {
        canonical_name(str(name)): with_names(_mapping(f"strategy {name} of recipe {recipe}", own))
        for name, own in settings.items()
    }


def running(key: str, value: Any) -> list[str]:
    """Canonical names of the strategies that run; ``["all"]`` stands for all with settings.

    Raises:
        InputError: there is none, one does not exist, or one is named twice.
    """
    names = as_list(value)
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(f"{key} is {shown(value)}: it should be a name, or several as a,b")
    if names == ["all"]:
        return names
    found = [canonical_name(name) for name in names]
    for name in found:
        if found.count(name) > 1:
            raise InputError(f"{key} names {name!r} twice: name each strategy once")
    return found


def _mapping(what: str, value: Any, *, named: bool = False) -> dict[str, Any]:
    """Settings by name; None stands for none, and a bare text for a name where ``named``."""
    if value is None:
        return {}
    if named and isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise InputError(f"{what} is {shown(value)}: it should map settings to values")
    if named and not isinstance(value.get("name", ""), str):
        raise InputError(f"{what} has the name {shown(value['name'])}: it should be one text")
    return dict(value)


def over(base: Mapping[str, Any], top: Mapping[str, Any]) -> Recipe:
    """``top`` laid over ``base``, section by section.

    Settings of a data set or scenario that its replacement does not know are dropped.
    """
    below = dict(base)
    for section in ("dataset", "scenario"):
        name = top.get(section, {}).get("name")
        if name is not None and section in below:
            below[section] = kept(section, below[section], name)
    return merged(below, top)


def merged(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """``top`` laid over ``base``, mapping by mapping."""
    found = dict(base)
    for key, value in top.items():
        mine = found.get(key)
        if isinstance(mine, dict) and isinstance(value, dict):
            value = merged(mine, value)
        found[key] = value
    return found


def kept(section: str, settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Settings that a section keeps when it is about ``name``: a disjoint split has no percentages.

    Raises:
        InputError: there is no such data set or scenario.
    """
    if section == "backbone":
        return dict(settings)
    accepted = section_parameters(section, name)
    return {key: value for key, value in settings.items() if key in accepted}

"""Recipes as files: YAML in, sections out, with what a recipe extends underneath."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.signatures import SCENARIOS, section_parameters

NAMED = ("dataset", "scenario", "backbone")
SECTIONS = (*NAMED, "evaluation")
Recipe = dict[str, Any]


class Loader(yaml.SafeLoader):
    """YAML 1.1 takes 5e-3 for a string; this loader takes it for the number it is."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"),
    list("-+0123456789."),
)


def recipe_names() -> dict[str, str]:
    """Recipes in the package: name -> first line of description."""
    found = {}
    for file in sorted(
        resources.files(__package__).joinpath("recipes").iterdir(), key=lambda f: f.name
    ):
        if file.name.endswith(".yaml"):
            comments = [
                line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#")
            ]
            found[file.name[:-5]] = comments[1] if len(comments) > 1 else ""
    return found


def recipe_text(name: str) -> str:
    """The YAML of a recipe of the package, or of a file.

    Raises:
        InputError: there is none.
    """
    if name.endswith((".yaml", ".yml")):
        if not Path(name).is_file():
            raise InputError(f"recipe file {name} does not exist")
        return Path(name).read_text()
    if name not in recipe_names():
        raise unknown("recipe", name, recipe_names())
    return resources.files(__package__).joinpath("recipes", f"{name}.yaml").read_text()


def load_recipe(name: str, above: tuple[str, ...] = ()) -> Recipe:
    """Sections of a recipe, those of the recipe (or the list of recipes) that it ``extends``
    underneath.

    Args:
        name: recipe of the package or a YAML file.
        above: recipes that extend this one.

    Raises:
        InputError: there is none, it is not valid YAML, a section has the wrong form, or it extends
            itself.
    """
    if name in above:
        raise InputError(f"recipe {name} extends itself, by way of {', '.join(above)}")
    recipe = _sections(name)
    if "extends" not in recipe:
        return recipe
    base: Recipe = {}
    for lower in as_list(recipe.pop("extends")):
        base = over(base, load_recipe(str(lower), (*above, name)))
    # Several bases put their strategies together; a recipe that names strategies of its own means
    # just these.
    return {
        **over(base, recipe),
        "strategies": recipe.get("strategies", base.get("strategies", {})),
    }


def strategy_settings(name: str, strategy: str) -> dict[str, Any]:
    """What a recipe and those that it extends say about a strategy that it does not run.

    The recipes ``RECIPE_STRATEGY`` of the package count as theirs: ``digits_er`` tells how ER runs
    on ``digits``.
    """
    for lower in _lineage(name):
        own = load_recipe(lower).get("strategies", {})
        if strategy in own:
            return dict(own[strategy])
        if (special := f"{lower}_{strategy}") in recipe_names():
            return dict(load_recipe(special)["strategies"].get(strategy, {}))
    return {}


def _lineage(name: str) -> list[str]:
    """The recipe and all that it extends, nearest first."""
    below = as_list(_sections(name).get("extends", []))
    return list(dict.fromkeys([name, *(each for lower in below for each in _lineage(str(lower)))]))


def _sections(name: str) -> Recipe:
    """The file's sections, each a mapping."""
    try:
        recipe = yaml.load(recipe_text(name), Loader=Loader) or {}
    except yaml.YAMLError as error:
        raise InputError(
            f"recipe {name} is not valid YAML: {' '.join(str(error).split())}"
        ) from error
    if not isinstance(recipe, dict):
        raise InputError(
            f"recipe {name} holds no sections: it should map dataset, scenario, backbone,"
            " strategies to settings"
        )
    for section in (*SECTIONS, "training"):
        if section in recipe:
            recipe[section] = _mapping(
                f"section {section!r} of recipe {name}", recipe[section], section in NAMED
            )
    if "strategies" in recipe:
        given = recipe["strategies"]
        if isinstance(given, str | list):
            given = dict.fromkeys(map(str, as_list(given)))
        strategies = _mapping(f"section 'strategies' of recipe {name}", given, named=False)
        recipe["strategies"] = {
            str(one): _mapping(f"strategy {one} of recipe {name}", options, named=False)
            for one, options in strategies.items()
        }
    return recipe


def _mapping(what: str, value: Any, named: bool) -> dict[str, Any]:
    """Settings by name; nothing stands for none, and where things are ``named`` a bare name for the
    thing."""
    if value is None:
        return {}
    if named and isinstance(value, str):
        return {"name": value}
    if not isinstance(value, dict):
        raise InputError(f"{what} is {value!r}: it should map settings to values")
    return dict(value)


def over(base: Mapping[str, Any], top: Mapping[str, Any]) -> Recipe:
    """``top`` laid over ``base``, section by section; of a scenario that is another now only what
    it knows is left."""
    kind = top.get("scenario", {}).get("name")
    if kind is not None and "scenario" in base:
        base = {**base, "scenario": kept("scenario", base["scenario"], kind)}
    return _merge(base, top)


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        mine = merged.get(key)
        merged[key] = (
            _merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
        )
    return merged


def kept(section: str, inherited: Mapping[str, Any], name: Any) -> dict[str, Any]:
    """The settings that still have a meaning once the section's name is another: a disjoint split
    has no percents."""
    if section != "scenario" or not isinstance(name, str) or name not in SCENARIOS:
        return dict(inherited)
    accepted = section_parameters(section, name)
    return {k: v for k, v in inherited.items() if k in accepted}


def as_list(value: Any) -> list[Any]:
    """A list, or the parts of a text ``a,b``, or the one value as a list."""
    if isinstance(value, str):
        return [yaml.load(part.strip(), Loader=Loader) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]

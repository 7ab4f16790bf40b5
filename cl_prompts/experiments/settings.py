"""Recipes and settings: YAML in, checked values out. Every key is a parameter of a function or class of this package.

A recipe holds sections. ``dataset``, ``scenario`` and ``backbone`` are arguments of the functions that make those things,
``evaluation`` those of anytime evaluation, ``training`` those that all strategies share, ``strategies`` maps each strategy
to its own. Types, defaults and spelling come from the signatures, so there is no second list of settings to keep.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module, resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, ValidationError, create_model

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.signatures import FILLED, SCENARIOS, parameters, section_parameters, strategy_parameters
from cl_prompts.strategies import STRATEGIES

_TOP: dict[str, Any] = {"seeds": [1], "stream_seed": None, "device": "auto", "num_workers": 0}
_SECTIONS = ("dataset", "scenario", "backbone", "evaluation")


@dataclass
class Settings:
    """One run, fully resolved: a recipe's sections with every default filled in."""

    recipe: str
    strategy: str
    seed: int
    stream_seed: int
    device: str
    num_workers: int
    dataset: dict[str, Any] = field(default_factory=dict)
    scenario: dict[str, Any] = field(default_factory=dict)
    backbone: dict[str, Any] = field(default_factory=dict)
    evaluation: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)

    def to_yaml(self) -> str:
        """The content of ``config.yaml``."""
        return yaml.safe_dump(_plain(asdict(self)), sort_keys=False)

    @classmethod
    def from_yaml(cls, text: str) -> Settings:
        """Inverse of :meth:`to_yaml`."""
        return cls(**yaml.load(text, Loader=_Loader))

    def section(self, name: str) -> tuple[str, dict[str, Any]]:
        """Name and arguments of ``dataset``, ``scenario`` or ``backbone``."""
        values = dict(getattr(self, name))
        return values.pop("name"), values


class _Loader(yaml.SafeLoader):
    """YAML 1.1 takes 5e-3 for a string; this loader takes it for the number it is."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"), list("-+0123456789.")
)


def recipe_names() -> dict[str, str]:
    """Recipes in the package: name -> first line of description."""
    found = {}
    for file in sorted(resources.files(__package__).joinpath("recipes").iterdir(), key=lambda f: f.name):
        if file.name.endswith(".yaml"):
            comments = [line[1:].strip() for line in file.read_text().splitlines() if line.startswith("#")]
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


def load_recipe(name: str) -> dict[str, Any]:
    """Sections of a recipe, those of the recipe (or the list of recipes) that it ``extends`` underneath."""
    try:
        recipe = yaml.load(recipe_text(name), Loader=_Loader) or {}
    except yaml.YAMLError as error:
        raise InputError(f"recipe {name} is not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(recipe, dict):
        raise InputError(
            f"recipe {name} holds no sections: it should map dataset, scenario, backbone, strategies to settings"
        )
    if "extends" in recipe:
        bases = [load_recipe(base) for base in _as_list(recipe.pop("extends"))]
        base: dict[str, Any] = {}
        for one in bases:
            base = _merge(base, one)
        # Several bases put their strategies together; a recipe that names strategies of its own means just these.
        recipe = {**_merge(base, recipe), "strategies": recipe.get("strategies", base.get("strategies", {}))}
    return recipe


def plan(name: str, overrides: Sequence[str] = ()) -> list[Settings]:
    """All runs of a recipe: every strategy with every seed.

    Args:
        name: recipe of the package or a YAML file.
        overrides: ``key=value`` texts; a key is dotted (``scenario.n_tasks``, ``mvp.lr``) or bare where only one section has
            it; one that all strategies share is set for each of them; ``dataset=``, ``scenario=``, ``backbone=`` set the name,
            ``strategy=`` and ``seed=`` take lists (``a,b``).
            A strategy that the recipe does not name gets the settings of the package's recipe ``RECIPE_STRATEGY``, if there is
            one: ``digits strategy=er`` is ``digits_er``.

    Raises:
        InputError: unknown recipe or key, or a value of the wrong type.
    """
    recipe = load_recipe(name)
    bad = [key for key in recipe if key not in (*_SECTIONS, "training", "strategies", *_TOP)]
    if bad:
        raise unknown(f"section of recipe {name}", bad[0], (*_SECTIONS, "training", "strategies", *_TOP))
    recipe = _merge({"strategies": {}, "training": {}, "evaluation": {}, **_TOP}, recipe)
    recipe["strategies"] = {k: dict(v or {}) for k, v in recipe["strategies"].items()}
    pairs = [_split_pair(text) for text in overrides]
    # Which strategies and scenario run decides what other keys mean, so those come first; dotted keys have the last word.
    for key, value in sorted(
        pairs, key=lambda pair: (pair[0] not in ("strategy", "strategies", "scenario"), "." in pair[0])
    ):
        if key in ("strategy", "strategies"):
            recipe["strategies"] = _chosen(name, recipe["strategies"], _as_list(value))
        else:
            _override(recipe, key, value)
    if not recipe["strategies"]:
        raise InputError(f"recipe {name} names no strategy: add strategy=mvp")
    seeds = [_integer("seed", seed) for seed in _as_list(recipe["seeds"])]
    return [_resolve(name, recipe, strategy, seed) for strategy in recipe["strategies"] for seed in seeds]


def _resolve(name: str, recipe: Mapping[str, Any], strategy: str, seed: int) -> Settings:
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    sections = {part: _checked(part, dict(recipe.get(part) or {})) for part in _SECTIONS}
    own = recipe["strategies"][strategy]
    options = _validate(f"strategy {strategy}", strategy_parameters(strategy), {**recipe["training"], **own})
    stream_seed = seed if recipe["stream_seed"] is None else _integer("stream_seed", recipe["stream_seed"])
    return Settings(
        recipe=Path(name).stem,
        strategy=strategy,
        seed=seed,
        stream_seed=stream_seed,
        device=str(recipe["device"]),
        num_workers=_integer("num_workers", recipe["num_workers"]),
        options=options,
        **sections,
    )


def _checked(section: str, values: dict[str, Any]) -> dict[str, Any]:
    """A section with its defaults, typed; ``name`` kept for sections that choose among things."""
    name = values.pop("name", None)
    if section == "evaluation":
        return _validate(section, section_parameters(section), values)
    if name is None:
        raise InputError(f"the recipe's section {section!r} has no name: add {section}=NAME")
    known = _known_names(section)
    if known is not None and name not in known:
        raise unknown("data set" if section == "dataset" else section, str(name), known)
    accepted = section_parameters(section, name)
    accepted.pop("name", None)
    return {"name": name, **_validate(section, accepted, values)}


def _known_names(section: str) -> Mapping[str, Any] | None:
    if section == "scenario":
        return SCENARIOS
    if section == "dataset":
        return import_module("cl_prompts.scenarios.datasets").DATASETS
    return None  # backbones: any plain ViT of timm; create_backbone says what it does not know


def _validate(where: str, accepted: Mapping[str, tuple[Any, Any]], values: Mapping[str, Any]) -> dict[str, Any]:
    for key in values:
        if key not in accepted:
            raise unknown(f"key of {where}", key, accepted)
    model = create_model("Section", __config__=ConfigDict(strict=True, arbitrary_types_allowed=True), **accepted)  # type: ignore[call-overload]
    try:
        checked = model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise InputError(
            f"{where}: {key} is {values.get(key)!r}, but {first['msg'][0].lower()}{first['msg'][1:]}"
        ) from error
    return {key: _plain(getattr(checked, key)) for key in accepted}


# ---------------------------------------------------------------------- overrides


def _split_pair(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise InputError(f"{text!r} is not of the form key=value")
    try:
        parsed = yaml.load(value, Loader=_Loader)
    except yaml.YAMLError:
        parsed = value
    return key.strip(), parsed


def _chosen(recipe: str, given: Mapping[str, Any], names: Sequence[Any]) -> dict[str, Any]:
    """Strategies by name, each with what the recipe, or else the package's recipe for it, says about it."""
    chosen: dict[str, Any] = {}
    recipes = recipe_names()
    for name in names:
        if name not in STRATEGIES:
            raise unknown("strategy", str(name), STRATEGIES)
        own = f"{recipe}_{name}"
        if name not in given and own in recipes:
            given = {**given, name: load_recipe(own)["strategies"].get(name)}
        chosen[name] = dict(given.get(name) or {})
    return chosen


def _override(recipe: dict[str, Any], key: str, value: Any) -> None:
    """Put one override where it belongs."""
    if key in ("seed", "seeds"):
        recipe["seeds"] = _as_list(value)
    elif key in _TOP:
        recipe[key] = value
    elif key in ("dataset", "scenario", "backbone"):
        recipe[key] = {**_kept(key, recipe.get(key) or {}, value), "name": value}
    else:
        section, leaf = _place(recipe, key)
        section[leaf] = value
        if key == leaf and section is recipe["training"]:
            for own in recipe["strategies"].values():  # what the command line says of all strategies holds for each
                own.pop(leaf, None)


def _kept(section: str, inherited: dict[str, Any], name: Any) -> dict[str, Any]:
    """The recipe's settings that still have a meaning once the section's name is another: a disjoint split has no percents."""
    if section != "scenario" or name not in SCENARIOS:
        return inherited
    accepted = section_parameters(section, name)
    return {k: v for k, v in inherited.items() if k in accepted}


def _place(recipe: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The section that a dotted or bare key belongs to, and its name there."""
    places = {part: set(section_parameters(part, (recipe.get(part) or {}).get("name", ""))) for part in _SECTIONS}
    own = {name: strategy_parameters(name) for name in recipe["strategies"]}
    common = set(parameters(import_module("cl_prompts.strategies").OnlineStrategy, FILLED["strategy"]))
    if "." in key:
        head, leaf = key.split(".", 1)
        keys: dict[str, set[str]] = {**places, "training": common, **{name: set(p) for name, p in own.items()}}
        if head not in keys:
            raise unknown("section", head, keys)
        if leaf not in keys[head]:
            raise unknown(f"key of {head}", leaf, keys[head])
        holder = recipe["strategies"] if head in own else recipe
        return holder.setdefault(head, {}), leaf
    # A bare key: training before strategies, since a strategy accepts the common keys too.
    matches = [part for part in _SECTIONS if key in places[part]] + (["training"] if key in common else [])
    if not matches:
        matches = [name for name in own if key in own[name]]
        if len(matches) == 1:
            return recipe["strategies"][matches[0]], key
    if len(matches) > 1:
        raise InputError(f"key {key!r} could mean {' or '.join(f'{m}.{key}' for m in matches)}: write one of them")
    if not matches:
        everything = set().union(*places.values(), common, *own.values()) | {
            *_TOP,
            "seed",
            "strategy",
            "dataset",
            "scenario",
            "backbone",
        }
        raise _elsewhere(key, recipe) or unknown("key", key, everything - {"name"})
    return recipe.setdefault(matches[0], {}), key


def _elsewhere(key: str, recipe: Mapping[str, Any]) -> InputError | None:
    """What to say of a key that means something to another scenario or strategy."""
    scenario = (recipe.get("scenario") or {}).get("name", "")
    if having := [name for name in SCENARIOS if key in section_parameters("scenario", name)]:
        return InputError(f"unknown key {key!r} of scenario {scenario!r}: it belongs to {', '.join(having)}")
    if having := [name for name in STRATEGIES if key in strategy_parameters(name)]:
        running = ", ".join(recipe["strategies"])
        return InputError(f"unknown key {key!r} of {running}: it belongs to {', '.join(having)}")
    return None


# ---------------------------------------------------------------------- small things


def _merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        mine = merged.get(key)
        merged[key] = _merge(mine, value) if isinstance(mine, dict) and isinstance(value, dict) else value
    return merged


def _as_list(value: Any) -> list[Any]:
    if isinstance(value, str):
        return [yaml.load(part.strip(), Loader=_Loader) for part in value.split(",")]
    return list(value) if isinstance(value, list | tuple) else [value]


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(f"{name} is {value!r}: it must be a whole number, 0 or more and below 2^63")
    return value


def _plain(value: Any) -> Any:
    """Tuples and paths to what YAML can say."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value

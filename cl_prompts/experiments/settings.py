"""Recipes and settings: YAML in, checked values out. Every key is a parameter of a function or
class of this package.

A recipe holds sections. ``dataset``, ``scenario`` and ``backbone`` are arguments of the functions
that make those things, ``evaluation`` those of anytime evaluation, ``training`` those that all
strategies share, ``strategies`` maps each strategy to its own. Types, defaults and spelling come
from the signatures, so there is no second list of settings to keep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import import_module
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import ConfigDict, ValidationError, create_model

from cl_prompts.errors import InputError, unknown
from cl_prompts.experiments.recipe_files import (
    SECTIONS,
    Loader,
    as_list,
    kept,
    load_recipe,
    over,
    strategy_settings,
)
from cl_prompts.experiments.signatures import (
    FILLED,
    SCENARIOS,
    parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.strategies import STRATEGIES

_TOP: dict[str, Any] = {"seeds": [1], "stream_seed": None, "device": "auto", "num_workers": 0}
_KNOWN = (*SECTIONS, "training", "strategies", *_TOP)


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
        return cls(**yaml.load(text, Loader=Loader))

    def section(self, name: str) -> tuple[str, dict[str, Any]]:
        """Name and arguments of ``dataset``, ``scenario`` or ``backbone``."""
        values = dict(getattr(self, name))
        return values.pop("name"), values


def plan(name: str, overrides: Sequence[str] = ()) -> list[Settings]:
    """All runs of a recipe: every strategy with every seed.

    Args:
        name: recipe of the package or a YAML file.
        overrides: ``key=value`` texts; a key is dotted (``scenario.n_tasks``, ``mvp.lr``) or bare
            where only one section has it; one that all strategies share is set for each of them;
            ``dataset=``, ``scenario=``, ``backbone=`` set the name, ``strategy=`` and ``seed=``
            take lists (``a,b``). A strategy that the recipe does not name gets the settings of the
            package's recipe ``RECIPE_STRATEGY``, if there is one for it or for what it extends:
            ``digits strategy=er`` is ``digits_er``.

    Raises:
        InputError: unknown recipe or key, or a value of the wrong type.
    """
    recipe = load_recipe(name)
    if bad := [str(key) for key in recipe if key not in _KNOWN]:
        raise unknown(f"section of recipe {name}", bad[0], _KNOWN)
    recipe = over({"strategies": {}, "training": {}, "evaluation": {}, **_TOP}, recipe)
    pairs = [_split_pair(text) for text in overrides]
    for key, value in sorted(pairs, key=lambda pair: _rank(pair[0])):
        if key in ("strategy", "strategies"):
            recipe["strategies"] = _chosen(name, recipe["strategies"], value)
        else:
            _override(recipe, key, value)
    if not recipe["strategies"]:
        raise InputError(f"recipe {name} names no strategy: add strategy=mvp")
    seeds = list(dict.fromkeys(_integer("seed", seed) for seed in as_list(recipe["seeds"])))
    return [
        _resolve(name, recipe, strategy, seed)
        for strategy in recipe["strategies"]
        for seed in seeds
    ]


def _rank(key: str) -> int:
    """Which strategies and scenario run decides what other keys mean; what is said of one strategy
    has the last word."""
    if key in ("strategy", "strategies", "scenario"):
        return 0
    return 2 if "." in key and not key.startswith("training.") else 1


def _resolve(name: str, recipe: Mapping[str, Any], strategy: str, seed: int) -> Settings:
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    sections = {part: _checked(part, dict(recipe.get(part) or {})) for part in SECTIONS}
    own = recipe["strategies"][strategy]
    options = _validate(
        f"strategy {strategy}", strategy_parameters(strategy), {**recipe["training"], **own}
    )
    stream_seed = (
        seed if recipe["stream_seed"] is None else _integer("stream_seed", recipe["stream_seed"])
    )
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
        return import_module("cl_prompts.datasets.registry").DATASETS
    return None  # backbones: any plain ViT of timm; create_backbone says what it does not know


def _validate(
    where: str, accepted: Mapping[str, tuple[Any, Any]], values: Mapping[str, Any]
) -> dict[str, Any]:
    for key in values:
        if key not in accepted:
            raise unknown(f"key of {where}", key, accepted)
    values = {key: _listed(value, accepted[key][0]) for key, value in values.items()}
    model = create_model(
        "Section", __config__=ConfigDict(strict=True, arbitrary_types_allowed=True), **accepted
    )  # type: ignore[call-overload]
    try:
        checked = model(**values)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        said = dict.fromkeys(
            e["msg"].replace("an instance of Sequence", "a list")
            for e in error.errors()
            if str(e["loc"][0]) == key
        )
        first, *others = said
        message = " or ".join(
            [first[0].lower() + first[1:], *(m.removeprefix("Input should be ") for m in others)]
        )
        raise InputError(f"{where}: {key} is {values.get(key)!r}, but {message}") from error
    return {key: _plain(getattr(checked, key)) for key in accepted}


def _listed(value: Any, annotation: Any) -> Any:
    """``a,b`` as a list, where the setting takes lists and no text."""
    kinds = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    lists = any(
        isinstance(get_origin(kind), type) and issubclass(get_origin(kind), Sequence)
        for kind in kinds
    )
    is_word = any(get_origin(kind) is Literal and value in get_args(kind) for kind in kinds)
    text = isinstance(value, str) and not is_word
    return as_list(value) if text and lists and str not in kinds else value


# ---------------------------------------------------------------------- overrides


def _split_pair(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key:
        raise InputError(f"{text!r} is not of the form key=value")
    try:
        parsed = yaml.load(value, Loader=Loader)
    except yaml.YAMLError:
        parsed = value
    return key.strip(), parsed


def _chosen(recipe: str, given: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """Strategies by name, each with what the recipe says about it, whether it runs it or not."""
    names = _names("strategy", value)
    if bad := [name for name in names if name not in STRATEGIES]:
        raise unknown("strategy", bad[0], STRATEGIES)
    return {
        name: dict(given[name]) if name in given else strategy_settings(recipe, name)
        for name in names
    }


def _names(key: str, value: Any, several: bool = True) -> list[str]:
    """One name or several, as the command line or a recipe gives them."""
    names = as_list(value) if several else [value]
    if not names or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{key} is {value!r}: it should be a name" + (", or several as a,b" if several else "")
        )
    return names


def _override(recipe: dict[str, Any], key: str, value: Any) -> None:
    """Put one override where it belongs."""
    if key in ("seed", "seeds"):
        recipe["seeds"] = as_list(value)
    elif key in _TOP:
        recipe[key] = value
    elif key in ("dataset", "scenario", "backbone"):
        (name,) = _names(key, value, several=False)
        recipe[key] = {**kept(key, recipe.get(key) or {}, name), "name": name}
    else:
        section, leaf = _place(recipe, key)
        section[leaf] = value
        if section is recipe["training"]:
            for own in recipe[
                "strategies"
            ].values():  # what the command line says of all strategies holds for each
                own.pop(leaf, None)


def _place(recipe: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The section that a dotted or bare key belongs to, and its name there."""
    places = {
        part: set(section_parameters(part, (recipe.get(part) or {}).get("name", "")))
        for part in SECTIONS
    }
    own = {name: strategy_parameters(name) for name in recipe["strategies"]}
    common = set(
        parameters(import_module("cl_prompts.strategies").OnlineStrategy, FILLED["strategy"])
    )
    if "." in key:
        head, leaf = key.split(".", 1)
        keys: dict[str, set[str]] = {
            **places,
            "training": common,
            **{name: set(p) for name, p in own.items()},
        }
        if head not in keys and head in STRATEGIES:
            raise InputError(
                f"{key} is of a strategy that does not run: add strategy={head}, or leave it out"
            )
        if head not in keys:
            raise unknown("section", head, keys)
        if leaf not in keys[head]:
            raise unknown(f"key of {head}", leaf, keys[head])
        holder = recipe["strategies"] if head in own else recipe
        return holder.setdefault(head, {}), leaf
    # A bare key: training before strategies, since a strategy accepts the common keys too.
    matches = [part for part in SECTIONS if key in places[part]] + (
        ["training"] if key in common else []
    )
    if not matches:
        matches = [name for name in own if key in own[name]]
        if len(matches) == 1:
            return recipe["strategies"][matches[0]], key
    if len(matches) > 1:
        raise InputError(
            f"key {key!r} could mean {' or '.join(f'{m}.{key}' for m in matches)}: write one of"
            " them"
        )
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
        return InputError(
            f"unknown key {key!r} of scenario {scenario!r}: it belongs to {', '.join(having)}"
        )
    if having := [name for name in STRATEGIES if key in strategy_parameters(name)]:
        running = ", ".join(recipe["strategies"])
        return InputError(f"unknown key {key!r} of {running}: it belongs to {', '.join(having)}")
    return None


# ---------------------------------------------------------------------- small things


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**63:
        raise InputError(
            f"{name} is {value!r}: it must be a whole number, 0 or more and below 2^63"
        )
    return value


def _plain(value: Any) -> Any:
    """Tuples and paths to what YAML can say."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return str(value) if isinstance(value, Path) else value

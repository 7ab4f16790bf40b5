"""Settings made up by hypothesis, most of them such as a user might write.

Types, words and bounds of every setting come from the signatures, so that a new strategy is fuzzed
as soon as it is in the catalogue. Two recipes in three hold what could be right; in the others
one or two values or keys are replaced by something wild.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from hypothesis import strategies as st

from cl_prompts.experiments.recipes.signatures import (
    common_parameters,
    filled_parameters,
    section_parameters,
    strategy_parameters,
)
from cl_prompts.scenarios.registry import SCENARIOS
from cl_prompts.strategies import STRATEGIES
from cl_prompts.strategies.base.settings import Declared

STRIPES = "tests.experiments.own_parts:stripes"
SINGLE = [name for name, scenario in SCENARIOS.items() if not scenario.multi_label]
MULTIPLE = [name for name, scenario in SCENARIOS.items() if scenario.multi_label]
ABLE = [name for name in STRATEGIES if "multi_label" in filled_parameters(name)]
WILD = st.sampled_from(
    [
        *(None, True, -1, 0, 1.5, 10**6, 10**12, 2**63, -(2**70), 1e30, math.nan, math.inf),
        *("", "x", "none", "1,2", "x" * 300),
        *([], [0], [1, "a"], [[1]], {}, {"a": 1}, {"name": "digits"}),
    ]
)
#: settings whose defaults are for larger problems than these
SLOW = {
    "projection": st.integers(1, 50),
    "width": st.integers(1, 50),
    "rehearsal_epochs": st.integers(1, 2),
}


@dataclass(frozen=True)
class Written:
    """What a user wrote.

    Attributes:
        recipe: content of the file.
        overrides: of the command line.
    """

    recipe: Any
    overrides: tuple[str, ...]


def value(kind: Any, default: Any) -> st.SearchStrategy[Any]:
    """Values of a type that could be right, not far from the default."""
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(default, Declared):
        return st.just(dict(default.given))
    if kind is Any or kind is types.NoneType:
        return st.just(default)
    if origin is Annotated:
        bound = inner[1]
        low, high = bound.low, bound.high
        if bound.whole:
            return st.integers(low, 9 if high is None else high)
        return st.floats(low, 2.0 if high is None else high, exclude_min=bound.above, width=32)
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of(st.just(default), *(value(member, default) for member in inner))
    if origin is not None and issubclass(origin, Sequence):
        return st.lists(value(inner[0], 0), min_size=1, max_size=3, unique_by=str).map(_sorted)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(1, 5)
    return st.floats(0, 2) if kind is float else st.just(default)


def _sorted(values: list[Any]) -> list[Any]:
    return sorted(values, key=lambda v: (str(type(v)), v if not isinstance(v, list) else str(v)))


@st.composite
def some(draw: st.DrawFn, accepted: Mapping[str, tuple[Any, Any]], most: int = 3) -> dict[str, Any]:
    """A few of some settings."""
    names = draw(st.lists(st.sampled_from(sorted(accepted)), max_size=most, unique=True))
    found = {name: draw(value(*accepted[name])) for name in names}
    return {name: v for name, v in found.items() if v is not ...}


@st.composite
def scenarios(draw: st.DrawFn, names: list[str], n_classes: int) -> dict[str, Any]:
    """A scenario that fits so many classes, as a rule."""
    name = draw(st.sampled_from(names))
    accepted = section_parameters("scenario", name)
    found = draw(some(accepted))
    if "n_tasks" in accepted:
        divisors = [n for n in range(1, n_classes + 1) if n_classes % n == 0]
        found["n_tasks"] = draw(st.sampled_from(divisors))
    for percent in {"disjoint_percent", "blurry_percent"} & accepted.keys():
        found[percent] = draw(st.sampled_from([0, 10, 30, 50, 90, 100]))
    if "protocol" in accepted:
        found = {"protocol": draw(st.sampled_from(["B0-C1", "B0-C2", "B0-C5", "B4-C2", "B5-C5"]))}
    if "domain_order" in accepted:
        order = st.one_of(st.none(), st.just("shuffled"), st.permutations(range(4)))
        found["domain_order"] = draw(order)
    if "class_order" in accepted:
        order = st.one_of(st.none(), st.just("shuffled"), st.permutations(range(n_classes)))
        found["class_order"] = draw(order)
    return {"name": name, **found}


@st.composite
def datasets(draw: st.DrawFn) -> tuple[dict[str, Any], int]:
    """A data set, and its classes."""
    kind = draw(st.sampled_from(["stripes", "stripes", "digits", "digit_domains", "digit_scenes"]))
    if kind == "stripes":
        n = draw(st.integers(2, 8))
        return {"name": STRIPES, "n_classes": n, "per_class": draw(st.integers(2, 5))}, n
    found = draw(some({"augment": (bool, True), "on_bad_image": (Literal["fail", "skip"], "")}))
    n = 10 if kind == "digit_scenes" else draw(st.sampled_from([10, 10, 4]))
    return {"name": kind, **found, **({"classes": n} if n < 10 else {})}, n


@st.composite
def written(draw: st.DrawFn) -> Written:
    """A recipe and overrides."""
    dataset, n_classes = draw(datasets())
    multiple = dataset["name"] == "digit_scenes"
    names = MULTIPLE if multiple else SINGLE
    if dataset["name"] != "digit_domains":
        names = [name for name in names if name != "domain_incremental"]
    strategy = draw(st.sampled_from(ABLE if multiple else sorted(STRATEGIES)))
    recipe = {
        "dataset": dataset,
        "scenario": draw(scenarios(names, n_classes)),
        "backbone": {
            "name": "glyph_vit_tiny",
            "image_size": draw(st.sampled_from([16, 24, 32, None])),
            "normalisation": draw(st.sampled_from(["checkpoint", "dataset", "none"])),
        },
        "evaluation": draw(some(_without(section_parameters("evaluation"), "points"))),
        "training": draw(some(_small(common_parameters()), 2)),
        "strategies": {strategy: draw(some(_small(strategy_parameters(strategy)), 4))},
        "seeds": draw(st.lists(st.integers(0, 99), min_size=1, max_size=2, unique=True)),
        "num_workers": 0,
    }
    accepted = strategy_parameters(strategy)
    for name in SLOW.keys() & accepted.keys():
        recipe["strategies"][strategy].setdefault(name, draw(SLOW[name]))
    overrides = [
        f"{section}.{key}={_flow(recipe[section].pop(key))}"
        for section in draw(st.sets(st.sampled_from(["scenario", "backbone", "evaluation"])))
        for key in sorted(set(recipe[section]) - {"name"})
    ]
    if draw(st.integers(0, 2)) == 2:
        for _ in range(draw(st.integers(1, 2))):
            draw(spoilt(recipe, overrides))
    return Written(recipe, tuple(overrides))


@st.composite
def spoilt(draw: st.DrawFn, recipe: dict[str, Any], overrides: list[str]) -> None:
    """Put something wild into a recipe or its overrides."""
    section = draw(st.sampled_from(sorted(recipe)))
    inside = recipe[section]
    how = draw(st.sampled_from(["value", "value", "value", "key", "section", "override", "text"]))
    if how == "override" and overrides:
        at = draw(st.integers(0, len(overrides) - 1))
        overrides[at] = overrides[at].partition("=")[0] + "=" + _flow(draw(WILD))
    elif how == "text":
        overrides.append(draw(st.text(max_size=12)))
    elif how == "section" or not isinstance(inside, dict) or not inside:
        recipe[section] = draw(WILD)
    else:
        key = draw(st.sampled_from(sorted(map(str, inside))))
        if how == "key":
            inside[draw(st.sampled_from([key + "s", "x", 3, None]))] = draw(WILD)
        else:
            inside[key] = draw(WILD)


def _flow(content: Any) -> str:
    """A value as it stands on a command line."""
    return yaml.safe_dump(content, default_flow_style=True, width=10**6).split("\n...")[0].strip()


def _without(accepted: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: kind for name, kind in accepted.items() if name not in names}


def _small(accepted: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose values near the default, or of a few units, fit a small ViT."""
    return _without(
        accepted, "compile", "tau", "schedule", "g_blocks", "e_blocks", "prompted_blocks"
    )

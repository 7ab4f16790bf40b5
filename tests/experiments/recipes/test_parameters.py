"""Parameters of recipes, and validation of their values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from cl_prompts.experiments.recipes.parameters import (
    FILLED,
    Parameter,
    parameters,
    strategy_options,
    validated,
)
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.strategies import STRATEGIES, strategy_class

OWN = "tests.experiments.own_parts"


def test_sections_leave_out_what_the_runner_fills_in() -> None:
    own = set(parameters("dataset", f"{OWN}:stripes"))
    assert own == {"on_bad_image", "per_class", "n_classes"}
    # The first parameter takes the labels, whatever its name.
    assert list(parameters("scenario", f"{OWN}:halves")) == ["swapped"]
    assert parameters("scenario", f"{OWN}:thirds") == {}
    assert "root" in parameters("dataset", "digits")
    assert "splits" in parameters("dataset", "voc2007")
    assert "splits" not in parameters("dataset", "digits")
    assert set(parameters("scenario", "disjoint")) == {*("n_tasks", "leftover", "class_order")}
    assert "test_labels" not in parameters("scenario", "mlcil")
    for section, name in (("dataset", "digits"), ("backbone", ""), ("evaluation", "")):
        found = parameters(section, name)
        assert found
        assert not set(found) & FILLED[section]


def test_every_strategy_has_the_shared_and_the_filled_in_parameters() -> None:
    for strategy in STRATEGIES:
        found = parameters("strategy", strategy)
        excluded = set(strategy_class(strategy).excluded)
        assert set(parameters("training")) - excluded <= set(found), strategy
        assert not set(found) & FILLED["strategy"], strategy
        assert all(default is not ... for _, default, _ in found.values()), strategy


ACCEPTED = {
    "count": Parameter(int, 3),
    "rate": Parameter(float, 0.5),
    "flag": Parameter(bool, False),
    "word": Parameter(Literal["one", "two"], "one"),
    "places": Parameter(Sequence[int] | None, None),
    "classes": Parameter(int | Sequence[int | str] | None, None),
    "anything": Parameter(Any, None),
}


def test_defaults_are_filled_in_and_tuples_become_lists() -> None:
    found = validated("it", {**ACCEPTED, "blocks": Parameter(Sequence[int], (1, 2))}, {"rate": 1})
    assert found == {
        "count": 3,
        "rate": 1.0,
        "flag": False,
        "word": "one",
        "places": None,
        "classes": None,
        "anything": None,
        "blocks": [1, 2],
    }
    assert type(found["rate"]) is float


def test_a_methods_plugin_keeps_its_other_settings() -> None:
    (run,) = plan("digits", ["strategy=smope", "seed=1", "smope.head_alignment.epochs=3"])
    alignment = run.options["plugins"]["head_alignment"]
    assert (alignment["epochs"], alignment["samples"]) == (3, 512)


def test_nested_settings_have_every_default() -> None:
    found = strategy_options("single_prompt", {"head": {"input": "whitened"}})
    assert (found["head"]["kind"], found["head"]["input"]) == ("cosine", "whitened")
    assert (found["head"]["refresh"], found["prompt_form"], found["plugins"]) == (5, {}, {})
    assert not {"head", "prompt_form"} & set(strategy_options("ncm", {}))

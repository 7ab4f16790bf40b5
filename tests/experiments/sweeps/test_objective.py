"""Objectives of a search, and those that no run can have."""

from __future__ import annotations

import contextlib

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.objective import OBJECTIVES, SearchOptions


def test_the_direction_is_known_of_every_number() -> None:
    assert {SearchOptions(objective=key).direction for key in OBJECTIVES} == {
        "maximize",
        "minimize",
    }
    for key, way in (("a_auc", "maximize"), ("task_forgetting", "minimize"), ("cf1", "maximize")):
        assert SearchOptions(objective=key).direction == way


def test_defaults_stand_where_nothing_is_given() -> None:
    assert SearchOptions.of("random", None, None, None) == SearchOptions(
        "random", 20, "a_auc", (1000,)
    )
    assert SearchOptions.of("tpe", 3, "bwt", "7,20-22") == SearchOptions(
        "tpe", 3, "bwt", (7, 20, 21, 22)
    )


@pytest.mark.parametrize(
    ("objective", "multi_label", "every", "whole_stream", "says"),
    [
        ("map_avg", False, 100, False, "one class: choose another, such as a_last"),
        ("a_avg", True, 100, False, "several classes: choose another, such as map_last"),
        ("a_auc", False, None, False, "without anytime points: set evaluation.every, or choose"),
        ("forgetting_anytime", False, None, False, "without anytime points"),
        ("a_auc", False, None, True, "for a strategy that sees all data at once: choose another"),
        ("forgetting", True, None, True, "for a strategy that sees all data at once: choose"),
        ("a_auc", True, 100, False, None),
        ("a_last", False, None, True, None),
        ("map_last", True, None, True, None),
    ],
)
def test_an_objective_that_no_run_can_have_is_refused(
    objective: str, multi_label: bool, every: int | None, whole_stream: bool, says: str | None
) -> None:
    expected = pytest.raises(InputError, match=says) if says else contextlib.nullcontext()
    options = SearchOptions(objective=objective)
    with expected:
        options.check(multi_label=multi_label, every=every, whole_stream=whole_stream)

"""What a search is for."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.search_aim import OBJECTIVES, Aim


def test_the_direction_is_known_of_every_number() -> None:
    assert {Aim(objective=key).direction for key in OBJECTIVES} == {"maximize", "minimize"}
    for key, way in (("a_auc", "maximize"), ("task_forgetting", "minimize"), ("cf1", "maximize")):
        assert Aim(objective=key).direction == way


def test_defaults_stand_where_nothing_is_given() -> None:
    assert Aim.of("random", None, None, None) == Aim("random", 20, "a_auc", (1000,))
    assert Aim.of("tpe", 3, "bwt", "7,20-22") == Aim("tpe", 3, "bwt", (7, 20, 21, 22))


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("tp", None, None, None), "did you mean 'tpe'?"),
        (("tpe", 0, None, None), "--trials must be a whole number from 1"),
        (("tpe", None, "a_auk", None), "did you mean 'a_auc'?"),
        (("tpe", None, None, "one"), "--search-seed"),
        (("tpe", None, None, "[]"), "--search-seed is empty"),
    ],
)
def test_what_does_not_exist_is_refused(values: Any, says: str) -> None:
    with pytest.raises(InputError) as told:
        Aim.of(*values)
    assert says in str(told.value)


@pytest.mark.parametrize(
    ("objective", "multi_label", "every", "whole_stream", "says"),
    [
        ("map_avg", False, 100, False, "where an image has one class: choose another, such as a_"),
        ("a_avg", True, 100, False, "where an image has several classes: choose another"),
        ("a_auc", False, None, False, "without anytime points: set evaluation.every, or choose"),
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
    told = ""
    try:
        Aim(objective=objective).check(
            multi_label=multi_label, every=every, whole_stream=whole_stream
        )
    except InputError as error:
        told = str(error)
    assert told.startswith(f"--objective {objective} is undefined {says}" if says else "")
    assert bool(told) == bool(says)

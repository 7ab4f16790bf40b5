"""Ranges and lists of the command line as a space to search."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.sweeps.search_space import Choice, Range, SearchSpace, axis_of


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("1e-4..1e-1", Range("k", 1e-4, 1e-1, "real")),
        ("0..0.5", Range("k", 0, 0.5, "real")),
        ("5..20", Range("k", 5, 20, "whole")),
        ("1 .. 2.0", Range("k", 1, 2.0, "real")),
        ("-2..2", Range("k", -2, 2, "whole")),
        ("a,b,a", Choice("k", ("a", "b"))),
        ("[1,2],[3]", Choice("k", ("[1,2]", "[3]"))),
        ("../data", None),
        ("5", None),
        ("[1,2]", None),
        ("true..false", None),
    ],
)
def test_what_is_searched_and_what_is_not(text: str, axis: Any) -> None:
    assert axis_of("k", text) == axis


@pytest.mark.parametrize(
    ("low", "high", "log"), [(1e-4, 1e-1, True), (1, 9, False), (1, 10, True), (0, 1, False)]
)
def test_ends_far_apart_are_searched_by_size(low: float, high: float, log: bool) -> None:
    assert Range("k", low, high, "real").log is log


def test_chosen_numbers_are_short_and_in_range() -> None:
    axis = Range("lr", 0.12345, 0.98765, "real")
    assert axis.written(0.55555) == "lr=0.556"
    assert axis.written(0.12345) == "lr=0.12345"
    assert axis.written(0.9876) == "lr=0.98765"
    assert Range("n", 1, 4, "whole").written(3) == "n=3"


def test_a_space_leaves_the_rest_alone() -> None:
    space = SearchSpace.of(["strategy=mvp", "lr=0.1,0.2", "seed=1-3", "stream_seed=4", "every=50"])
    assert list(space.axes) == ["lr"]
    assert space.fixed == ("strategy=mvp", "every=50")
    assert space.seeds == ("seed=1-3", "stream_seed=4")
    assert space.written({"lr": "0.2"}) == ["lr=0.2"]


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["lr=0.2..0.1"], "lr has the range '0.2..0.1': it should run upwards"),
        (["lr=1..1"], "it should run upwards"),
        (["lr=1..2", "lr=3..4"], "lr is given twice"),
        (["seed=1-5", "strategy=a,b"], "a search has nothing to choose"),
    ],
)
def test_bad_spaces_are_refused(texts: list[str], says: str) -> None:
    with pytest.raises(InputError) as told:
        SearchSpace.of(texts)
    assert says in str(told.value)

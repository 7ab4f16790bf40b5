"""Search spaces from ranges and lists."""

from typing import Any

import pytest

from cl_prompts.experiments.sweeps.grid import SearchSpace, axis_of

optuna = pytest.importorskip("optuna")
Int = optuna.distributions.IntDistribution
Float = optuna.distributions.FloatDistribution
Choice = optuna.distributions.CategoricalDistribution


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("1e-4..1e-1", Float(1e-4, 1e-1, log=True)),
        ("0..0.5", Float(0, 0.5)),
        ("5..20", Int(5, 20)),
        ("1..9", Int(1, 9)),
        ("1..10", Int(1, 10, log=True)),
        ("1 .. 2.0", Float(1, 2)),
        ("-2..2", Int(-2, 2)),
        ("a,b", Choice(("a", "b"))),
        ("[1,2],[3]", Choice(("[1,2]", "[3]"))),
        ("../data", None),
        ("5", None),
        ("[1,2]", None),
        ("true..false", None),
    ],
)
def test_ranges_and_lists_become_distributions(text: str, axis: Any) -> None:
    assert axis_of("k", text) == axis


def test_chosen_numbers_are_short() -> None:
    space = SearchSpace.of(["lr=0.12345..0.98765", "n=1..4"])
    for value, text in ((0.55555, "0.556"), (0.12345, "0.12345"), (0.9876, "0.98765")):
        assert space.written({"lr": value, "n": 3}) == [f"lr={text}", "n=3"]
    assert space.ends == [["lr=0.12345", "n=1"], ["lr=0.98765", "n=4"]]
    space = SearchSpace.of(["n=1,2,3", "lr=1..2"])
    assert space.ends == [["n=1", "lr=1"], ["n=2", "lr=2"], ["n=3", "lr=2"]]

"""Checks of settings: accepted values, and messages for others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pytest

from cl_prompts.checks import (
    Count,
    NotNegative,
    Positive,
    Share,
    Size,
    fits,
    one_of,
    source_hash,
    whole_number,
)
from cl_prompts.errors import InputError


def refused(says: str, call: Any, *given: Any, **named: Any) -> None:
    with pytest.raises(InputError) as caught:
        call(*given, **named)
    assert str(caught.value) == says


def test_whole_numbers_of_any_type_are_accepted() -> None:
    assert whole_number("n", np.int64(3)) == 3
    assert whole_number("n", 0, low=0) == 0
    assert whole_number("n", 7, high=7) == 7
    refused("n must be a whole number of at least 1, not 0", whole_number, "n", 0)
    refused("n must be a whole number of at least 1, not 2.0", whole_number, "n", 2.0)
    refused("n must be a whole number of at least 1, not True", whole_number, "n", True)
    says = "n must be a whole number from 1 to 7 (the number of classes), not 8"
    refused(says, whole_number, "n", 8, high=7, of="the number of classes")


def test_words_are_a_literal_type_or_a_collection() -> None:
    for words in (Literal["warm", "cold"], ("warm", "cold")):
        one_of("water", "warm", words)
        refused("unknown water 'warn': did you mean 'warm'?", one_of, "water", "warn", words)


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Count, [1, 50, 2**63 - 1], [0, -1, 1.5, True, "1"]),
        (Size, [0, 3], [-1, 0.5]),
        (Positive, [0.1, 3], [0, -0.1, float("nan"), "1", 10**400]),
        (NotNegative, [0, 0.5], [-0.1, float("nan"), float("inf")]),
        (Share, [0, 0.5, 1], [-0.1, 1.1]),
        (Count | None, [None, 1], [0]),
        (Literal["a", "b"], ["a"], ["c"]),
        (Literal["a"] | None, [None, "a"], ["c"]),
        (Annotated[float, "a note of another kind"], [-1, 0.5], ["anything"]),
        (str, ["3"], [3, None]),
        (bool | None, [True, None], [1, "yes"]),
        (int | Sequence[int | str] | None, [3, [1, "a"], (), None], [1.5, "ab", [1.5]]),
        (Sequence[Size], [(), [0, 3]], [[-1], ["1"], 3]),
        (list[Share | None], [[0.5, None, 1]], [[None, 2], [-1]]),
        (str | Path, ["a", Path("a")], [3]),
        (Any, [3, "a", None], []),
    ],
)
def test_a_type_says_which_values_fit(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        fits("setting", value, kind)
    for value in bad:
        with pytest.raises(InputError, match="setting"):
            fits("setting", value, kind)


def test_whole_numbers_become_floats_where_only_floats_are_allowed() -> None:
    kinds = {float: 1.0, int | float: 1, int | bool: 1}
    assert {kind: repr(fits("setting", 1, kind)) for kind in kinds} == {
        kind: repr(value) for kind, value in kinds.items()
    }
    found = fits("setting", [[0, 1], [2.5]], str | Sequence[Sequence[float]])
    assert repr(found) == "[[0.0, 1.0], [2.5]]"


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        (int | Sequence[int] | None, "n is 1.5: it should be a list or a valid integer"),
        (list[Sequence[float]], "n is 1.5: it should be a valid list"),
        (bool, "n is 1.5: it should be a valid boolean"),
        (str | Path, "n is 1.5: it should be a valid string or an instance of Path"),
        (Share, "n is 1.5: it should be less than or equal to 1"),
        (Count, "n is 1.5: it should be a valid integer"),
    ],
)
def test_a_wrong_type_is_refused_with_the_right_one(kind: Any, says: str) -> None:
    refused(says, fits, "n", 1.5, kind)
    refused(f"mine: {says}", fits, "n", 1.5, kind, of="mine")


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("# a comment\n\ndef f( x ):  # another\n  return (x[1:], 'it')\n", True),
        ('"""A module."""\ndef f(x):\n    """A function."""\n    return x[1:], "it"', True),
        ("def f(x):\n    return x[:1], 'it'", False),
        ("def f(x):\n    return x[1:], 'IT'", False),
    ],
)
def test_code_is_hashed_without_comments_docstrings_and_layout(
    text: str, same: bool, tmp_path: Path
) -> None:
    one, other = tmp_path / "one.py", tmp_path / "other.py"
    one.write_text("def f(x):\n    return x[1:], 'it'")
    other.write_text(text)
    assert (source_hash(one) == source_hash(other)) == same

"""Values in YAML and on the command line."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.values import as_seeds, parsed, yaml_of, yaml_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5e-3", 0.005),
        ("1e5", 1e5),
        ("3", 3),
        ("-3", -3),
        ("3.", 3.0),
        (".inf", float("inf")),
        ("1e", "1e"),
        ("null", None),
        ("true", True),
        ("[1, a]", [1, "a"]),
        ("package.module:Class", "package.module:Class"),
        ("[", "["),
        ("caf\udce9", "caf\udce9"),  # a name that is not UTF-8
    ],
)
def test_texts_become_values(text: str, value: Any) -> None:
    found = parsed(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.slow
@given(
    st.text(max_size=20)
    | st.from_regex(r"[-+]?[0-9_:.]{1,5}([eE][-+]?[0-9]{1,2})?", fullmatch=True)
    | st.integers()
    | st.floats(allow_nan=False)
)
@example("7e2")
def test_yaml_round_trip(value: Any) -> None:
    config = {"classes": [value, "aa"], "names": {str(value): value}}
    found = yaml_of(yaml_text(config))
    assert found == config
    assert type(found["classes"][0]) is type(value)


@pytest.mark.parametrize(
    ("value", "seeds"),
    [
        (3, [3]),
        ("1-3", [1, 2, 3]),
        ("1 - 2, 7,2", [1, 2, 7]),
        ([1, "4-5"], [1, 4, 5]),
        ("6-6", [6]),
    ],
)
def test_seeds_and_ranges_of_seeds(value: Any, seeds: list[int]) -> None:
    assert as_seeds("seed", value) == seeds


@pytest.mark.parametrize(
    "value", ["3-1", "0-10000", "-1", "1-2-3", "1-", "a-b", 1.5, True, 2**63, None, "1--2", []]
)
def test_other_values_are_refused_as_seeds(value: Any) -> None:
    with pytest.raises(InputError, match=r"^seed "):
        as_seeds("seed", value)

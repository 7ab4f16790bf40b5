"""Settings checked against the types of signatures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.recipes.signatures import Parameter
from cl_prompts.experiments.recipes.validation import composed, validated

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


@given(st.floats(min_value=1e-9, max_value=1e9, allow_nan=False))
def test_numbers_in_any_notation_stay_numbers(value: float) -> None:
    (run,) = plan("digits", ["strategy=linear_probe", "seed=1", f"lr={value!r}"])
    assert run.options["lr"] == value


def test_a_methods_own_plugin_keeps_what_is_not_set() -> None:
    (run,) = plan("digits", ["strategy=smope", "seed=1", "smope.head_alignment.epochs=3"])
    alignment = run.options["plugins"]["head_alignment"]
    assert (alignment["epochs"], alignment["samples"]) == (3, 512)


def test_nested_settings_have_every_default_and_a_method_without_a_head_none() -> None:
    found = composed("single_prompt", {"head": {"input": "whitened"}})
    assert (found["head"]["kind"], found["head"]["input"]) == ("cosine", "whitened")
    assert (found["head"]["refresh"], found["prompt_form"], found["plugins"]) == (5, {}, {})
    assert composed("ncm", {}) == {"plugins": {}}

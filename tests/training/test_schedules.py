"""Learning-rate schedules over the epochs of a task."""

from __future__ import annotations

import math

import pytest

from cl_prompts.errors import InputError
from cl_prompts.training.schedules import SCHEDULES, check_schedule, learning_rate_factor


def test_constant_stays() -> None:
    assert [learning_rate_factor("constant", epoch, 5) for epoch in range(5)] == [1.0] * 5


def test_cosine_falls_from_one_towards_zero() -> None:
    found = [learning_rate_factor("cosine", epoch, 4) for epoch in range(5)]
    assert found == pytest.approx([1, (1 + 0.5**0.5) / 2, 0.5, (1 - 0.5**0.5) / 2, 0])
    assert learning_rate_factor("cosine", 0, 1) == 1


def test_codas_cosine_ends_above_zero() -> None:
    found = [learning_rate_factor("coda", epoch, 3) for epoch in range(3)]
    assert found == pytest.approx([1, math.cos(99 * math.pi / 400), math.cos(99 * math.pi / 200)])
    assert found[-1] == pytest.approx(0.0157, abs=1e-4)
    assert learning_rate_factor("coda", 0, 1) == 1  # where the published code divides by zero


def test_an_unknown_schedule_is_refused() -> None:
    for name in SCHEDULES:
        check_schedule(name)
    with pytest.raises(InputError, match="unknown schedule 'cosin': did you mean 'cosine'"):
        check_schedule("cosin")

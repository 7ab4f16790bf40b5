"""How prompts and keys begin."""

from __future__ import annotations

import pytest

from cl_prompts.prompts.init import drawn


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"),
    [("normal", -9, 9, 0.0), ("uniform", -1, 1, 0.0), ("small", 0, 0.01, 0.005)],
)
def test_initial_distributions(name: str, low: float, high: float, mean: float) -> None:
    values = drawn((200, 50), name)
    assert values.min() >= low
    assert values.max() <= high
    assert values.mean().item() == pytest.approx(mean, abs=0.05 * high)
    assert values.std().item() == pytest.approx(
        {"normal": 1, "uniform": 3**-0.5, "small": 0.01 / 12**0.5}[name], 0.05
    )

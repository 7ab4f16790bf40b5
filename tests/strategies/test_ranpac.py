"""RanPAC: a blurry stream gives the batch solution; when its ridge is chosen."""

from __future__ import annotations

from typing import Any

import pytest

from tests.toy_data import experiences
from tests.toys import fit, make


@pytest.mark.parametrize(
    ("scenario", "changes", "chosen"),
    [
        ("class_incremental", {}, True),  # announced
        ("si_blurry", {}, False),  # not announced
        ("si_blurry", {"period": 50}, True),
        ("class_incremental", {"held_out": 0}, False),
    ],
)
def test_the_ridge_is_chosen_where_a_task_ends(
    scenario: str, changes: dict[str, Any], chosen: bool
) -> None:
    strategy = fit(make("ranpac", scenario, **changes), experiences(scenario))
    ridge = float(strategy.model.head.ridge)
    assert ridge in {10.0**k for k in range(-8, 9)} if chosen else ridge == 3.0

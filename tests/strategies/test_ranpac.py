"""RanPAC, LayUP and the multi-label ridge choose their ridge where the first task ends."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.closed_form.multi_label_ridge import RIDGES, MultiLabelRidge
from tests.toy_data import experiences
from tests.toys import fit, make

SINGLE = [
    ("class_incremental", {}, True),  # announced
    ("si_blurry", {}, False),  # not announced
    ("si_blurry", {"period": 50}, True),
    ("class_incremental", {"held_out": 0}, False),
]
SEVERAL = [
    ("mlcil", {"held_out": 20}, True),
    ("si_blurry_multi_label", {"held_out": 20}, False),
    ("si_blurry_multi_label", {"held_out": 20, "period": 24}, True),
]


@pytest.mark.parametrize(
    ("kind", "scenario", "changes", "chosen"),
    [
        *[("ranpac", *case) for case in SINGLE],
        ("layup", "class_incremental", {"held_out": 60}, True),
        ("layup", "si_blurry", {"held_out": 60}, False),
        *[("multi_label_ridge", *case) for case in SEVERAL],
    ],
)
def test_the_ridge_is_chosen_where_a_task_ends(
    kind: str, scenario: str, changes: dict[str, Any], chosen: bool
) -> None:
    strategy = make(kind, scenario, ridge=7.0, **changes)  # no candidate
    ridges = []
    for part in experiences(scenario):
        fit(strategy, [part])
        ridges.append(float(strategy.model.head.ridge))
    assert (ridges[-1] != 7.0) == chosen
    if kind == "multi_label_ridge":  # once
        assert len(set(ridges)) == 1
        assert ridges[0] in RIDGES or not chosen
        resumed = make(kind, scenario, **changes)
        resumed.load_state_dict(strategy.state_dict())
        assert strategy.ridge_chosen == resumed.ridge_chosen == chosen


def test_layup_of_several_labels_has_the_image_ridge() -> None:
    head = make("layup", "mlcil").model.head
    assert isinstance(head, MultiLabelRidge)
    assert head.dim == 2 * 16

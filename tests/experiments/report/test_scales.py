"""Ranges and ticks of axes."""

from __future__ import annotations

import numpy as np

from cl_prompts.experiments.report.paired_curves import Band
from cl_prompts.experiments.report.scales import Scale, x_scale, x_ticks, y_scale


def band(*values: float, half: float | None = None) -> Band:
    """A band at the points 1, 2, ..."""
    middle = np.array(values)
    x = np.arange(1.0, len(values) + 1)
    return Band(x, middle, None if half is None else np.full(len(values), half), 2)


def test_ticks_are_round_numbers_in_the_range() -> None:
    assert Scale(10, 20, ()).place(15) == 0.5
    assert x_ticks(450) == ((0.0, "0"), (200.0, "200"), (400.0, "400"))


def test_samples_begin_at_0_and_tasks_at_1() -> None:
    assert (x_scale([band(0.5, 0.5)], tasks=False).low, x_scale([], tasks=False).high) == (0, 1)
    tasks = x_scale([band(*[0.5] * 5)], tasks=True)
    assert (tasks.low, tasks.high) == (1, 5)
    assert [text for _, text in tasks.ticks] == ["1", "2", "3", "4", "5"]
    assert x_scale([band(0.5)], tasks=True).place(1) == 0.5


def test_a_wide_band_does_not_flatten_the_curves() -> None:
    wide = y_scale([band(0.50, 0.52, half=0.4)], [], differences=False)
    assert (round(wide.low, 6), round(wide.high, 6)) == (49.0, 53.0)


def test_accuracies_stay_in_their_range_and_differences_hold_0() -> None:
    assert y_scale([band(0.0, 1.0)], [], differences=False).high == 100
    assert y_scale([band(0.1, 0.2)], [0.9], differences=False).high > 90
    gaps = y_scale([band(0.1, 0.2)], [], differences=True)
    assert gaps.low < 0
    assert [text for _, text in gaps.ticks][:2] == ["0", "+5"]

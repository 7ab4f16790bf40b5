"""Axes of the report's curves: their ranges and ticks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from cl_prompts.experiments.report.paired_curves import Band


@dataclass(frozen=True)
class Scale:
    """Range of an axis, and its ticks.

    >>> Scale(0, 50, ((0, "0"), (25, "25"))).place(25)
    0.5
    """

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]

    def place(self, value: Any) -> Any:
        """Where a value stands, 0 to 1 from the low end."""
        return (value - self.low) / (self.high - self.low)


def x_scale(bands: Iterable[Band], tasks: bool) -> Scale:
    """From 0 to the last sample, or from the first task to the last."""
    last = max((float(band.x[-1]) for band in bands), default=1.0)
    if tasks:
        count = round(last)
        shown = range(1, count + 1, -(-count // 10))
        margin = 0.0 if count > 1 else 0.5
        return Scale(1 - margin, count + margin, tuple((task, str(task)) for task in shown))
    return Scale(0, last, x_ticks(last))


def x_ticks(last: float) -> tuple[tuple[float, str], ...]:
    """Round numbers of samples from 0 on, and their texts.

    >>> x_ticks(1500)
    ((0.0, '0'), (500.0, '500'), (1000.0, '1,000'), (1500.0, '1,500'))
    """
    return tuple((at, f"{at:,.0f}") for at in _ticks(0, last, 4))


def y_scale(bands: Iterable[Band], levels: Iterable[float], differences: bool) -> Scale:
    """Range of all means, and of the most part of their bands."""
    bands = list(bands)
    middles = [100 * band.middle for band in bands]
    values = np.concatenate([*middles, [100 * level for level in levels], [0] * differences])
    halves = [band.half for band in bands if band.half is not None]
    # A wide band at the start, or one of few seeds, must not flatten the curves.
    room = 100 * float(np.median(np.concatenate(halves))) if halves else 0.0
    room = max(1.0, min(room, float(np.ptp(values)) / 2))
    low, high = float(values.min()) - room, float(values.max()) + room
    if not differences:
        low, high = max(0.0, low), min(100.0, high)
    form = "{:+g}" if differences else "{:g}"
    ticks = tuple((at, form.format(at) if at else "0") for at in _ticks(low, high, 6))
    return Scale(low, high, ticks)


def _ticks(low: float, high: float, most: int) -> list[float]:
    found = MaxNLocator(nbins=most, steps=[1, 2, 5, 10]).tick_values(low, high)
    return [round(float(at), 9) for at in found if low <= at <= high]

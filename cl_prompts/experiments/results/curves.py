"""Curves of a table's rows by seed, and their differences to one row, paired over seeds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cl_prompts.experiments.results.aggregates import least_effect
from cl_prompts.experiments.results.groups import Group
from cl_prompts.experiments.results.history import Floats
from cl_prompts.experiments.run_folder.runs import RunRecord

#: (samples or tasks, value 0..1) per point
Curve = Sequence[tuple[float, float]]
#: curve of each seed
Seeds = Mapping[Any, Curve]


@dataclass(frozen=True)
class Band:
    """Mean of the curves of several seeds.

    Attributes:
        x: points, such as samples seen.
        middle: mean at each of them, as a fraction.
        half: half the height of the band around it; None for one seed.
        seeds: how many.
    """

    x: Floats
    middle: Floats
    half: Floats | None
    seeds: int


def curves_of(group: Group, curve: Callable[[RunRecord], Curve]) -> dict[str, dict[Any, Curve]]:
    """Curve of each run by row and (seed, stream seed); rows without curves are left out."""
    found = {}
    for label, members in group.rows.items():
        seeds = {(run.summary["seed"], run.summary["stream_seed"]): curve(run) for run in members}
        known = {seed: points for seed, points in seeds.items() if points}
        # What saw all data at once has no course.
        if known and not members[0].whole_stream:
            found[label] = known
    return found


def _on_common_points(curves: Sequence[Curve]) -> tuple[Floats, Floats]:
    """Points of all curves within the range that they share, and (curves, points) values there,
    interpolated linearly."""
    arrays = [np.asarray(curve, float) for curve in curves]
    x = np.unique(np.concatenate([a[:, 0] for a in arrays]))
    x = x[(x >= max(a[0, 0] for a in arrays)) & (x <= min(a[-1, 0] for a in arrays))]
    return x, np.array([np.interp(x, a[:, 0], a[:, 1]) for a in arrays])


def mean_band(seeds: Seeds) -> Band | None:
    """Mean over seeds with one sample standard deviation, on the union of their points within
    their common range; None where they share no points."""
    x, values = _on_common_points(list(seeds.values()))
    if not len(x):
        return None
    spread = values.std(0, ddof=1) if len(values) > 1 else None
    return Band(x, values.mean(0), spread, len(values))


def difference_band(ours: Seeds, theirs: Seeds) -> Band | None:
    """Mean difference over the seeds that both have, with Student's interval at each point; None
    where they share no seed or no points."""
    gaps = {seed: difference_curve(ours[seed], theirs[seed]) for seed in ours if seed in theirs}
    gaps = {seed: gap for seed, gap in gaps.items() if gap}
    band = mean_band(gaps) if gaps else None
    if band is None or band.half is None:
        return band
    # Student's interval of the mean at each point: t(0.975, n - 1) * s / sqrt(n).
    return Band(band.x, band.middle, least_effect(band.seeds) * band.half, band.seeds)


def difference_curve(ours: Curve, theirs: Curve) -> list[tuple[float, float]]:
    """One curve minus another over their common range; empty where they have none.

    >>> difference_curve([(10, 0.5), (30, 0.75)], [(20, 0.5), (30, 0.25)])
    [(20.0, 0.125), (30.0, 0.5)]
    """
    x, (mine, other) = _on_common_points([ours, theirs])
    return list(zip(x.tolist(), (mine - other).tolist(), strict=True))

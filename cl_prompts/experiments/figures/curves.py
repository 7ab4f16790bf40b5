"""Curves over samples seen and over tasks: mean over seeds, with a band and single seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from cl_prompts.experiments.figures.style import FAINT, MARKS, finish, new_figure, strategy_styles
from cl_prompts.experiments.results.series import Floats

Curve = Sequence[tuple[float, float]]
#: curves up to which the spread over seeds is drawn; more bands would hide each other
MAX_SPREADS = 8
#: inches of a picture, on wide pages and on telephones
WIDE = (9.6, 4.6)
NARROW = (4.4, 4.4)


def curve_figure(
    curves: Mapping[str, Sequence[Curve]],
    task_ends: Sequence[int] | None = None,
    *,
    references: Mapping[str, float] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "accuracy",
    xlabel: str = "samples seen (images)",
    size: tuple[float, float] = WIDE,
) -> Figure:
    """Anytime accuracy over samples seen: mean over seeds, band of one sample standard deviation,
    thin lines for single seeds.

    Args:
        curves: for each strategy one curve of (samples seen, accuracy 0..1) per seed. Seeds
            measured at different points are interpolated linearly onto the union of their points,
            within their common range.
        task_ends: place of the end of each task, drawn as vertical lines; omit it where seeds
            differ.
        references: accuracies 0..1 of strategies without a curve, drawn as dotted lines.
        styles: line style of each strategy; default ``strategy_styles`` of the names given.
        measure: what the curves show, "accuracy" or "mAP".
        xlabel: what the points and ``task_ends`` count.
        size: width and height in inches.
    """
    figure, axes = new_figure(*size)
    for end in sorted(set(task_ends or ())):
        axes.axvline(end, color=FAINT, linewidth=1, zorder=0)
    references = references or {}
    draw_curves(axes, curves, references, styles or strategy_styles([*curves, *references]))
    axes.set_xlim(left=0)
    axes.margins(x=0)
    finish(
        axes,
        xlabel=xlabel,
        ylabel=f"anytime {measure} over seen classes (%)",
        grid="y",
    )
    return figure


def task_curve_figure(
    curves: Mapping[str, Sequence[Sequence[float]]],
    *,
    references: Mapping[str, float] | None = None,
    styles: Mapping[str, Mapping[str, Any]] | None = None,
    measure: str = "mAP",
    size: tuple[float, float] = WIDE,
) -> Figure:
    """Accuracy or mAP over the classes seen so far, after each task: mean over seeds, band of one
    sample standard deviation.

    Args:
        curves: for each strategy and seed the values 0..1 after every task, NaN where undefined.
        references: values of strategies measured at the end only, drawn as dotted lines.
        styles: line style of each strategy; default ``strategy_styles`` of the names given.
        measure: what the curves show, "mAP" or "accuracy".
        size: width and height in inches.
    """
    references = references or {}
    drawn = {}
    for name, seeds in curves.items():
        found = [points for points in map(_defined_points, seeds) if points]
        if found:
            drawn[name] = found
    figure, axes = new_figure(*size)
    draw_curves(
        axes, drawn, references, styles or strategy_styles([*curves, *references]), marker="o"
    )
    n_tasks = max((len(seed) for seeds in curves.values() for seed in seeds), default=1)
    axes.set_xlim(0.9 if n_tasks > 1 else 0.5, n_tasks + (0.1 if n_tasks > 1 else 0.5))
    places = range(1, n_tasks + 1, -(-n_tasks // 20))
    axes.set_xticks(places, [str(t) for t in places])
    finish(axes, xlabel="after task", ylabel=f"{measure} over seen classes (%)", grid="y")
    return figure


def _defined_points(values: Sequence[float]) -> list[tuple[float, float]]:
    """(task, value) from task 1 on, without NaN."""
    return [(task, value) for task, value in enumerate(values, 1) if not np.isnan(value)]


def draw_curves(
    axes: Any,
    curves: Mapping[str, Sequence[Curve]],
    references: Mapping[str, float],
    styles: Mapping[str, Mapping[str, Any]],
    *,
    marker: str | None = None,
) -> None:
    """Draw means over seeds with bands, single seeds and names at the right; set the y limits.

    More than ``MAX_SPREADS`` curves are drawn as means alone. ``references`` are dotted lines.
    Values are fractions, drawn in percent.
    """
    few = len(curves) <= MAX_SPREADS
    labels: list[tuple[float, str, str]] = []
    lowest: float = min(references.values(), default=1.0)
    for name, seeds in curves.items():
        x, mean, std = mean_curve(seeds)
        for seed in seeds if len(seeds) > 1 and few else ():
            axes.plot(
                *(np.asarray(seed, float) * (1, 100)).T, **styles[name], linewidth=0.7, alpha=0.45
            )
        if std is not None and few:
            axes.fill_between(
                x,
                100 * (mean - std),
                100 * (mean + std),
                color=styles[name]["color"],
                alpha=0.15,
                lw=0,
            )
        axes.plot(
            x, 100 * mean, **styles[name], linewidth=2.2, marker="o" if len(x) == 1 else marker
        )
        lowest = min([lowest, *((y for seed in seeds for _, y in seed) if few else mean.tolist())])
        final = float(mean[-1]) if len(mean) else float(np.mean([seed[-1][1] for seed in seeds]))
        labels.append(
            (100 * final, name + MARKS.get(styles[name]["linestyle"], ""), styles[name]["color"])
        )
    for name, value in references.items():
        axes.axhline(100 * value, color=styles[name]["color"], linewidth=1.6, linestyle=":")
        labels.append((100 * value, f"{name}, final", styles[name]["color"]))
    axes.set_ylim(max(0.0, 10 * np.floor((100 * lowest - 4) / 10)), 100)
    label_ends(axes, labels)


def mean_curve(seeds: Sequence[Curve]) -> tuple[Floats, Floats, Floats | None]:
    """Points, mean and sample standard deviation (None for one seed) over the common range."""
    arrays = [np.asarray(seed, float) for seed in seeds]
    x = np.unique(np.concatenate([a[:, 0] for a in arrays]))
    x = x[(x >= max(a[0, 0] for a in arrays)) & (x <= min(a[-1, 0] for a in arrays))]
    values = np.array([np.interp(x, a[:, 0], a[:, 1]) for a in arrays])
    return x, values.mean(0), values.std(0, ddof=1) if len(arrays) > 1 else None


def label_ends(axes: Any, labels: list[tuple[float, str, str]]) -> None:
    """Write names at the right ends of lines, moved apart where they would overlap.

    Call it after the y limits are final.
    """
    low, high = axes.get_ylim()
    gap = 0.05 * (high - low)
    labels = sorted(labels)
    places = [value for value, _, _ in labels]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = high
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    for place, (_, name, colour) in zip(places, labels, strict=True):
        where = (1.012, (place - low) / (high - low))
        axes.annotate(
            name,
            where,
            xycoords="axes fraction",
            color=colour,
            va="center",
            fontsize=10,
            parse_math=False,
        )

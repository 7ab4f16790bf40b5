"""Charts of a section of the report: curves, and their paired differences to a reference."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from cl_prompts.experiments import figures
from cl_prompts.experiments.figures.curves import MAX_SPREADS, Curve
from cl_prompts.experiments.report.chart import MAX_POINTS, Styles, View, chart, plot
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.paired_curves import (
    Band,
    anytime_curves,
    difference_band,
    mean_band,
    repeating_rows,
    task_curves,
)
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.results.series import stream_ends_of
from cl_prompts.experiments.run_folder.runs import title_of

_TOLD = 6  # curves that an alternative text tells one by one
_SAW_ALL = " Dotted: final {} of a reference that saw all data at once."


def curve_charts(section: Section, styles: Styles, reference: str, gallery: Gallery) -> list[View]:
    """Charts over samples where there are any, over tasks elsewhere and for several labels.

    Args:
        section: what is shown.
        styles: style of each row.
        reference: row that differences refer to; empty for none.
        gallery: takes the files.

    Returns:
        For the template ``title``, ``chart`` and ``captions``, sentences on each plot.
    """
    measure = "mAP" if section.multi_label else "accuracy"
    found = []
    anytime, apart = _with_mean(anytime_curves(section))
    if anytime:
        title = f"{title_of(measure)} at any time"
        found.append(_view(section, anytime, styles, reference, title, apart, over_tasks=False))
        gallery.add_file(
            f"{section.title}-curves",
            lambda: figures.curve_figure(
                _lists(anytime),
                _common_ends(section) or None,
                references=final_levels(section),
                styles=styles,
                measure=measure,
                xlabel=_samples(section),
            ),
        )
    by_task, split = _with_mean(task_curves(section))
    if by_task and (section.multi_label or not anytime):
        title = f"{title_of(measure)} after each task"
        view = _view(section, by_task, styles, reference, title, split, over_tasks=True)
        if apart and not anytime:
            view["captions"].append(
                f"No curves over samples: seeds share no evaluation point ({', '.join(apart)})."
            )
        found.append(view)
        values = {
            label: [[y for _, y in curve] for curve in seeds.values()]
            for label, seeds in by_task.items()
        }
        gallery.add_file(
            f"{section.title}-tasks",
            lambda: figures.task_curve_figure(
                values, references=final_levels(section), styles=styles, measure=measure
            ),
        )
    return found


def final_levels(section: Section) -> dict[str, float]:
    """Mean final value of each row that saw all data at once."""
    values = section.values(at("results", "map_last" if section.multi_label else "a_last"))
    return {
        label: statistics.mean(values[label])
        for label, group in section.groups.items()
        if group[0].whole_stream and values[label]
    }


def _lists(curves: Mapping[str, Mapping[Any, Curve]]) -> dict[str, list[Curve]]:
    return {label: list(seeds.values()) for label, seeds in curves.items()}


def _with_mean(
    curves: Mapping[str, Mapping[Any, Curve]],
) -> tuple[dict[str, Mapping[Any, Curve]], list[str]]:
    """Rows whose seeds share points, and labels of the others, which have no mean to draw."""
    shown = {label: seeds for label, seeds in curves.items() if mean_band(seeds) is not None}
    return shown, [label for label in curves if label not in shown]


def _samples(section: Section) -> str:
    """Name of the axis of samples."""
    return "samples of the stream (images)" if repeating_rows(section) else "samples seen (images)"


def _common_ends(section: Section) -> list[int]:
    """Samples at the task ends where all streams agree in them, or nothing."""
    ends = [stream_ends_of(run) for run in section.runs if not run.whole_stream]
    return ends[0] if ends and all(found == ends[0] for found in ends) else []


def _view(
    section: Section,
    curves: Mapping[str, Mapping[Any, Curve]],
    styles: Styles,
    reference: str,
    title: str,
    apart: Sequence[str],
    *,
    over_tasks: bool,
) -> View:
    """The chart of one kind of curves, and what to say of it; rows ``apart`` are left out."""
    measure = "mAP" if section.multi_label else "accuracy"
    levels = final_levels(section)
    means = {label: mean_band(seeds) for label, seeds in curves.items()}
    bands = {label: band for label, band in means.items() if band is not None}
    finals = {label: float(band.middle[-1]) for label, band in bands.items()} | levels
    order = sorted(finals, key=lambda label: (-finals[label], label))
    repeating = [] if over_tasks else repeating_rows(section)
    xlabel = "after task" if over_tasks else _samples(section)
    ends = [] if over_tasks else _common_ends(section)
    axes: dict[str, Any] = {"xlabel": xlabel, "lines": ends, "tasks": over_tasks}
    words = f"{section.title}: {title}"
    plots = [
        plot(
            title_of(measure),
            bands,
            styles,
            order,
            alt=f"{words}; at the end {_told(finals, '{:.1f} %')}",
            ylabel=f"{measure} over the classes seen (%)",
            levels=levels,
            **axes,
        )
    ]
    captions = [_spread(bands, ends=bool(ends), over_tasks=over_tasks, levels=levels, what=measure)]
    gaps = _gaps(curves, reference)
    if gaps:
        last = {label: float(band.middle[-1]) for label, band in gaps.items()}
        plots.append(
            plot(
                f"Difference to {reference}",
                gaps,
                styles,
                order,
                alt=f"{words}, minus that of {reference} at the same seed; at the end"
                f" {_told(last, '{:+.1f} points')}",
                ylabel="difference (points)",
                differences=True,
                **axes,
            )
        )
    captions.append(_pairing(curves, gaps, reference))
    if apart:
        captions.append(f"Not drawn, seeds share no evaluation point: {', '.join(apart)}.")
    if repeating:
        captions.append(
            f"{', '.join(repeating)}: seen in several epochs; points are drawn where their task is"
            " in the stream."
        )
    longest = max(len(band.x) for band in bands.values())
    if longest > MAX_POINTS:
        captions.append(f"Of {longest:,} points, no more than {MAX_POINTS} are drawn.")
    return {"title": title, "chart": chart(plots, order, styles), "captions": captions}


def _gaps(curves: Mapping[str, Mapping[Any, Curve]], reference: str) -> dict[str, Band]:
    if reference not in curves:
        return {}
    gaps = {
        label: difference_band(seeds, curves[reference])
        for label, seeds in curves.items()
        if label != reference
    }
    return {label: gap for label, gap in gaps.items() if gap is not None}


def _told(finals: Mapping[str, float], form: str) -> str:
    """Final values, the highest first; of many only the highest and the lowest."""
    ranked = sorted(finals.items(), key=lambda item: (-item[1], item[0]))
    told = [f"{label} {form.format(100 * value)}" for label, value in ranked]
    if len(told) > _TOLD:
        left = len(told) - _TOLD
        told = [*told[: _TOLD - 1], f"{left} others between", told[-1]]
    return ", ".join(told)


def _spread(
    bands: Mapping[str, Band],
    *,
    ends: bool,
    over_tasks: bool,
    levels: Mapping[str, float],
    what: str,
) -> str:
    """What the first plot shows."""
    if all(band.half is None for band in bands.values()):
        said = "One seed each: no band."
    else:
        said = "Lines: means over seeds; bands: ± one sample standard deviation."
        if any(band.half is None for band in bands.values()):
            said += " One seed: no band."
        if len(bands) > MAX_SPREADS:
            said += (
                f" More than {MAX_SPREADS} bands would hide each other: there is that of the curve"
                f" pointed at, and all where no more than {MAX_SPREADS} curves are shown."
            )
    if not over_tasks:
        said += " Vertical lines: task ends." if ends else " Task ends differ between seeds."
    return said + (_SAW_ALL.format(what) if levels else "")


def _pairing(
    curves: Mapping[str, Mapping[Any, Curve]], gaps: Mapping[str, Band], reference: str
) -> str:
    """What the second plot shows, or why there is none."""
    if not reference:
        return "One strategy: there is nothing to take differences to."
    if reference not in curves:
        return f"No differences to {reference}: it has no mean curve here."
    if not gaps:
        return f"No differences to {reference}: no strategy shares a seed with it."
    said = (
        f"Differences to {reference} are taken at the same seed, hence on the same stream, and are"
        " free of what differs between streams."
    )
    single = [label for label, gap in gaps.items() if gap.half is None]
    if len(single) == len(gaps):
        said += " One shared seed: no band."
    else:
        said += (
            " Lines: means over the seeds that both have; bands: 95 % intervals of these means"
            " (Student), each point for itself: a difference is clear where 0 is outside."
        )
        if single:
            said += f" One shared seed, no band: {', '.join(single)}."
    lacking = [label for label in curves if label not in gaps and label != reference]
    return said + (f" No shared seed: {', '.join(lacking)}." if lacking else "")

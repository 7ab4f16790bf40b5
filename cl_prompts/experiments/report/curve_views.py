"""Charts of a section of the report: curves, and their paired differences to a reference."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from cl_prompts.experiments import figures
from cl_prompts.experiments.figures.curves import MAX_SPREADS
from cl_prompts.experiments.report.chart import MAX_POINTS, Styles, View, chart, plot
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.curves import (
    Band,
    Seeds,
    anytime_curves,
    difference_band,
    mean_band,
    repeating_rows,
    task_curves,
)
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.results.series import stream_ends_of
from cl_prompts.experiments.run_folder.runs import title_of

_LISTED = 6  # curves that an alternative text names one by one
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
    anytime = anytime_curves(section)
    over_samples = _view(section, anytime, styles, reference, gallery, over_tasks=False)
    if over_samples is not None and not section.multi_label:
        return [over_samples]
    over_tasks = _view(section, task_curves(section), styles, reference, gallery, over_tasks=True)
    if over_tasks is not None and over_samples is None and anytime:
        apart = ", ".join(anytime)
        over_tasks["captions"].append(
            f"No curves over samples: seeds share no evaluation point ({apart})."
        )
    return [view for view in (over_samples, over_tasks) if view is not None]


def final_levels(section: Section) -> dict[str, float]:
    """Mean final value of each row that saw all data at once."""
    values = section.values(at("results", "map_last" if section.multi_label else "a_last"))
    return {
        label: statistics.mean(values[label])
        for label, group in section.groups.items()
        if group[0].whole_stream and values[label]
    }


def _samples(section: Section) -> str:
    """Name of the axis of samples."""
    return "samples of the stream (images)" if repeating_rows(section) else "samples seen (images)"


def _common_ends(section: Section) -> list[int]:
    """Samples at the task ends where all streams agree in them, or nothing."""
    ends = [stream_ends_of(run) for run in section.runs if not run.whole_stream]
    return ends[0] if ends and all(found == ends[0] for found in ends) else []


def _run_ends(section: Section, ends: list[int]) -> list[int]:
    """Samples at which the runs went on from finished ones, where all did so alike, or nothing."""
    found = {str(run.config.get("parent", {}).get("sizes", [])): run for run in section.runs}
    if len(found) > 1:
        return []
    (run,) = found.values()
    tasks = {tasks for _, tasks in run.config.get("parent", {}).get("sizes", [])}
    return [ends[n - 1] for n in sorted(tasks) if n < len(ends)]


def _view(
    section: Section,
    curves: Mapping[str, Seeds],
    styles: Styles,
    reference: str,
    gallery: Gallery,
    *,
    over_tasks: bool,
) -> View | None:
    """The chart of one kind of curves, and what to say of it; None where no row has a mean.

    Rows whose seeds share no point have none, and are named below it.
    """
    means = {label: mean_band(seeds) for label, seeds in curves.items()}
    bands = {label: band for label, band in means.items() if band is not None}
    if not bands:
        return None
    apart = [label for label in curves if label not in bands]
    curves = {label: curves[label] for label in bands}
    measure = "mAP" if section.multi_label else "accuracy"
    title = f"{title_of(measure)} {'after each task' if over_tasks else 'at any time'}"
    levels = final_levels(section)
    finals = {label: float(band.middle[-1]) for label, band in bands.items()} | levels
    # The legend from the top, as the curves lie at their ends.
    order = sorted(finals, key=lambda label: (-finals[label], label))
    repeating = [] if over_tasks else repeating_rows(section)
    ends = [] if over_tasks else _common_ends(section)
    breaks = _run_ends(section, ends)
    axes: dict[str, Any] = {
        "xlabel": "after task" if over_tasks else _samples(section),
        "lines": ends,
        "tasks": over_tasks,
    }
    ylabel = f"{measure} over the classes seen (%)"
    gallery.add_file(
        f"{section.title}-{'tasks' if over_tasks else 'curves'}",
        lambda: figures.curve_figure(bands, levels=levels, styles=styles, ylabel=ylabel, **axes),
    )
    words = f"{section.title}: {title}"
    shown = {**axes, "breaks": breaks}
    alt = f"{words}; at the end {_listed(finals, '{:.1f} %')}"
    plots = [
        plot(
            title_of(measure), bands, styles, order, alt=alt, ylabel=ylabel, levels=levels, **shown
        )
    ]
    captions = [_spread(bands, ends=bool(ends), over_tasks=over_tasks, levels=levels, what=measure)]
    if breaks:
        listed = ", ".join(f"{at:,}" for at in breaks)
        captions.append(
            f"Strong lines: ends of the runs that these go on from, after {listed} samples."
        )
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
                f" {_listed(last, '{:+.1f} points')}",
                ylabel="difference (points)",
                differences=True,
                **shown,
            )
        )
    captions.append(_pairing(curves, gaps, reference))
    if any(one["cut"] for one in plots):
        captions.append("Bands and intervals that reach beyond a picture are cut there.")
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


def _gaps(curves: Mapping[str, Seeds], reference: str) -> dict[str, Band]:
    if reference not in curves:
        return {}
    gaps = {
        label: difference_band(seeds, curves[reference])
        for label, seeds in curves.items()
        if label != reference
    }
    return {label: gap for label, gap in gaps.items() if gap is not None}


def _listed(finals: Mapping[str, float], form: str) -> str:
    """Final values, the highest first; of many only the highest and the lowest."""
    ranked = sorted(finals.items(), key=lambda item: (-item[1], item[0]))
    texts = [f"{label} {form.format(100 * value)}" for label, value in ranked]
    if len(texts) > _LISTED:
        left = len(texts) - _LISTED
        texts = [*texts[: _LISTED - 1], f"{left} others between", texts[-1]]
    return ", ".join(texts)


def _spread(
    bands: Mapping[str, Band],
    *,
    ends: bool,
    over_tasks: bool,
    levels: Mapping[str, float],
    what: str,
) -> str:
    """Caption of the first plot."""
    if all(band.half is None for band in bands.values()):
        text = "One seed each: no band."
    else:
        text = "Lines: means over seeds; bands: ± one sample standard deviation."
        if any(band.half is None for band in bands.values()):
            text += " One seed: no band."
        if len(bands) > MAX_SPREADS:
            text += (
                f" More than {MAX_SPREADS} bands would hide each other: intervals at some points"
                f" stand for them, unless no more than {MAX_SPREADS} curves are shown."
            )
    if not over_tasks:
        text += " Vertical lines: task ends." if ends else " Task ends differ between seeds."
    return text + (_SAW_ALL.format(what) if levels else "")


def _pairing(curves: Mapping[str, Seeds], gaps: Mapping[str, Band], reference: str) -> str:
    """Caption of the second plot, or why there is none."""
    if len(curves) < 2:
        return "One strategy: there is nothing to take differences to."
    if reference not in curves:
        return f"No differences to {reference}: it has no mean curve here."
    if not gaps:
        return f"No differences to {reference}: no strategy shares a seed with it."
    text = (
        f"Differences to {reference} are taken at the same seed, hence on the same stream, and are"
        " free of what differs between streams."
    )
    single = [label for label, gap in gaps.items() if gap.half is None]
    if len(single) == len(gaps):
        text += " One shared seed: no band."
    else:
        text += (
            " Lines: means over the seeds that both have; bands: 95 % intervals of these means"
            " (Student), each point for itself: a difference is clear where 0 is outside."
        )
        if single:
            text += f" One shared seed, no band: {', '.join(single)}."
    lacking = [label for label in curves if label not in gaps and label != reference]
    return text + (f" No shared seed: {', '.join(lacking)}." if lacking else "")

"""What the template of the report shows of each section and run, pictures drawn."""

from __future__ import annotations

import base64
import json
import re
import statistics
from collections.abc import Mapping
from typing import Any

import yaml
from matplotlib.figure import Figure

from cl_prompts.experiments import pictures
from cl_prompts.experiments.columns import at, own_f1
from cl_prompts.experiments.names import label_of
from cl_prompts.experiments.oddities import oddities
from cl_prompts.experiments.pictures.curves import MAX_SPREADS, NARROW, WIDE
from cl_prompts.experiments.results import Section
from cl_prompts.experiments.run_pictures import pictures_of
from cl_prompts.experiments.runs import Run, title_of
from cl_prompts.experiments.series import (
    curve_of,
    stream_view,
    task_curve_of,
)

View = dict[str, Any]
Styles = Mapping[str, Mapping[str, Any]]

_F1 = {
    "CF1": own_f1("cf1"),
    "OF1": own_f1("of1"),
    "CF1 at 0.5": at("results", "cf1_50"),
    "OF1 at 0.5": at("results", "of1_50"),
}


class Gallery:
    """Pictures by file name, as PNG bytes, drawn before anything is written."""

    def __init__(self) -> None:
        """Start empty."""
        self.files: dict[str, bytes] = {}

    def add(self, name: str, figure: Figure, alt: str, narrow: Figure | None = None) -> View:
        """Add a figure.

        Args:
            name: its file name, but for characters that files should not have.
            figure: what to draw.
            alt: alternative text.
            narrow: the same for telephones.

        Returns:
            For the template ``uri``, ``alt`` and ``width`` in CSS pixels, 96 per inch, and
            ``narrow``, the other URI or None. Pages show SVG, which follows their theme; files are
            PNG on white.
        """
        stem = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
        file = f"{stem}.png"
        number = 1
        while file in self.files:
            number += 1
            file = f"{stem}-{number}.png"
        self.files[file] = pictures.png_bytes(figure)
        # Drawn a second time as it was laid out.
        figure.set_layout_engine("none")
        return {
            "uri": _uri(figure),
            "narrow": None if narrow is None else _uri(narrow),
            "alt": alt,
            "width": round(96 * figure.get_figwidth()),
        }


def _uri(figure: Figure) -> str:
    svg = pictures.svg_text(figure).encode()
    return "data:image/svg+xml;base64," + base64.b64encode(svg).decode()


def section_view(section: Section, styles: Styles, gallery: Gallery) -> View:
    """Everything that the template shows of a section."""
    facts = dict(section.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    lengths = sorted(run.summary["samples"] for run in section.runs)
    shown = dict.fromkeys((lengths[0], lengths[-1]))
    competing = [label for label, group in section.groups.items() if not group[0].whole_stream]
    return {
        "title": section.title,
        "reference": section.reference,
        "differs": section.differs,
        "oddities": oddities(section.groups),
        "facts": facts,
        "samples": " to ".join(f"{n:,}" for n in shown),
        "seeds": section.seeds,
        "same_seeds": len(set(section.seeds.values())) == 1,
        "comparable_seeds": len({section.seeds[label] for label in competing}) <= 1,
        "multi_label": section.multi_label,
        "headings": section.headings,
        "rows": section.rows(),
        "by_name": section.by_name,
        "rows_by_name": section.rows(section.by_name),
        **_curves_view(section, styles, gallery),
        "streams": _stream_views(section, gallery),
        "strategies": [_strategy_view(section, label, gallery) for label in section.groups],
    }


def _curves_view(section: Section, styles: Styles, gallery: Gallery) -> View:
    """Curves over samples where there are any, curves over tasks elsewhere; F1 if multi-label."""
    measure = "mAP" if section.multi_label else "accuracy"
    references = _references(section)
    streamed = {
        label: group for label, group in section.groups.items() if not group[0].whole_stream
    }
    curves = {}
    for label, group in streamed.items():
        found = [curve for curve in map(curve_of, group) if curve]
        if found:
            curves[label] = found
    over_tasks = {label: list(map(task_curve_of, group)) for label, group in streamed.items()}
    ends = [run.summary["task_ends"] for group in streamed.values() for run in group]
    same_ends = all(e == ends[0] for e in ends)
    view: View = {"curves": None, "task_curves": None, "f1": None}
    if curves:
        wide, narrow = (
            pictures.curve_figure(
                curves,
                ends[0] if same_ends else None,
                references=references,
                styles=styles,
                measure=measure,
                size=size,
            )
            for size in (WIDE, NARROW)
        )
        finals = {label: [curve[-1][1] for curve in found] for label, found in curves.items()}
        alt = f"{section.title}: anytime {measure} over samples seen; {_ends_of(finals)}"
        view["curves"] = gallery.add(f"{section.title}-curves", wide, alt, narrow)
    if over_tasks and (section.multi_label or not curves):
        wide, narrow = (
            pictures.task_curve_figure(
                over_tasks, references=references, styles=styles, measure=measure, size=size
            )
            for size in (WIDE, NARROW)
        )
        finals = {label: [curve[-1] for curve in found] for label, found in over_tasks.items()}
        alt = f"{section.title}: {measure} after each task; {_ends_of(finals)}"
        view["task_curves"] = gallery.add(f"{section.title}-tasks", wide, alt, narrow)
    if section.multi_label:
        figure = pictures.f1_figure(_final_f1(section), styles=styles)
        alt = f"{section.title}: CF1 and OF1 of {', '.join(section.groups)} after the last task"
        view["f1"] = gallery.add(f"{section.title}-f1", figure, alt)
    view["costs"] = _costs(section, styles, gallery)
    view["spread"] = _spread(section, len(curves or over_tasks))
    return {
        **view,
        "measure": title_of(measure),
        "measure_word": measure,
        "same_ends": same_ends,
        "references": list(references),
    }


def _costs(section: Section, styles: Styles, gallery: Gallery) -> View | None:
    """Accuracy against cost, where at least two strategies are trained on the stream."""
    key = "map_avg" if section.multi_label else "a_auc"
    measure = "average mAP" if section.multi_label else "A_AUC"
    accuracies = section.values(at("results", key))
    costs = section.values(at("forward_passes", "train"))
    points = {
        label: (statistics.mean(costs[label]), accuracies[label])
        for label, group in section.groups.items()
        if accuracies[label] and costs[label] and not group[0].whole_stream
    }
    points = {label: point for label, point in points.items() if point[0] > 0}
    if len(points) < 2:
        return None
    figure = pictures.cost_figure(points, styles=styles, measure=measure)
    told = ", ".join(
        f"{label} {100 * statistics.mean(values):.1f} % at {cost:.1f} F"
        for label, (cost, values) in points.items()
    )
    alt = f"{section.title}: {measure} against forward passes per training sample: {told}"
    return gallery.add(f"{section.title}-costs", figure, alt)


def _ends_of(finals: Mapping[str, list[float]]) -> str:
    """Final values of curves, for those who cannot see them."""
    means = {label: 100 * statistics.mean(values) for label, values in finals.items()}
    return "at the end " + ", ".join(f"{label} {mean:.1f} %" for label, mean in means.items())


def _references(section: Section) -> dict[str, float]:
    """Mean final value of each row that saw all data at once."""
    values = section.values(at("results", "map_last" if section.multi_label else "a_last"))
    return {
        label: statistics.mean(values[label])
        for label, group in section.groups.items()
        if group[0].whole_stream and values[label]
    }


def _spread(section: Section, n_curves: int) -> str:
    """What a picture of curves shows of the seeds."""
    if all(len(group) == 1 for group in section.groups.values()):
        return "One seed each."
    if n_curves > MAX_SPREADS:
        return "Means over seeds; the table gives their spread."
    return "Thick: mean over seeds; band: ± one sample standard deviation; thin: single seeds."


def _final_f1(section: Section) -> dict[str, dict[str, list[float]]]:
    scores: dict[str, dict[str, list[float]]] = {label: {} for label in section.groups}
    for name, lookup in _F1.items():
        for label, values in section.values(lookup).items():
            scores[label][name] = values
    return scores


def _stream_views(section: Section, gallery: Gallery) -> list[tuple[str, View]]:
    """One picture for each different stream."""
    runs = sorted(section.runs, key=lambda run: run.summary["stream_seed"])
    streams = {json.dumps(run.stream, sort_keys=True): run for run in runs}
    views = []
    for run in streams.values():
        seed = run.summary["stream_seed"]
        figure = pictures.stream_figure(
            stream_view(run.stream), run.summary.get("class_names"), unit=run.unit
        )
        alt = (
            f"{section.title}, stream seed {seed}: {run.unit} of each class in each of"
            f" {run.summary['n_tasks']} tasks"
        )
        picture = gallery.add(f"{section.title}-stream-{seed}", figure, alt)
        views.append((f"stream seed {seed}", picture))
    return views


def _strategy_view(section: Section, label: str, gallery: Gallery) -> View:
    """Pictures of each run of a row, and the settings of its first."""
    group = section.groups[label]
    return {
        "label": label,
        "runs": [_run_view(section.title, label, run, gallery) for run in group],
        "config": yaml.safe_dump(dict(group[0].config), sort_keys=False),
    }


def _run_view(
    title: str, label: str, run: Run, gallery: Gallery
) -> tuple[str, list[tuple[str, View]]]:
    """Pictures of one run, each after its caption; none where it has no numbers."""
    stem = f"{run.summary['recipe']}-{label}-seed-{run.seeds}"
    found = pictures_of(run)
    whose = f"{title}, {label}, seed {run.seeds}"
    views = [
        (p.caption, gallery.add(f"{stem}-{p.name}", p.figure, f"{whose}: {p.alt}")) for p in found
    ]
    return f"seed {run.seeds}", views

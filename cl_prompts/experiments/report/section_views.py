"""Values for the report's template: everything of a section, pictures drawn."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cl_prompts.errors import all_of
from cl_prompts.experiments import figures
from cl_prompts.experiments.recipes.names import label_of
from cl_prompts.experiments.report.curve_views import curve_charts, final_levels
from cl_prompts.experiments.report.downloads import csv_uri, difference_rows, results_rows
from cl_prompts.experiments.report.findings import caveats, finding
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.strategy_views import Link, strategy_view
from cl_prompts.experiments.results.columns import at
from cl_prompts.experiments.results.comparison import HEADLINES
from cl_prompts.experiments.results.comparison_text import difference_parts
from cl_prompts.experiments.results.entries import power
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.results.series import stream_view, task_sizes

View = dict[str, Any]
Styles = Mapping[str, Mapping[str, Any]]

_F1 = {
    "CF1": at("results", "cf1"),
    "OF1": at("results", "of1"),
    "CF1 at 0.5": at("results", "cf1_50"),
    "OF1 at 0.5": at("results", "of1_50"),
}


def section_view(
    section: Section, styles: Styles, reference: str, gallery: Gallery, link: Link
) -> View:
    """Everything that the template shows of a section.

    Args:
        section: what is shown.
        styles: style of each row.
        reference: row that differences refer to; empty for none.
        gallery: draws the pictures.
        link: address of a file, as the page has to write it.
    """
    facts = dict(section.runs[0].summary)
    for key in ("dataset", "scenario"):
        facts[key] = label_of(str(facts[key]))
    lengths = sorted(run.summary["samples"] for run in section.runs)
    # One number where all streams are equally long, else the shortest and the longest.
    shown = dict.fromkeys((lengths[0], lengths[-1]))
    counts = {label: len(group) for label, group in section.groups.items()}
    results = section.table()
    by_name = section.table(section.by_name)
    # Bounds, which see all data at once, are often run with fewer seeds.
    competing = [label for label, group in section.groups.items() if not group[0].whole_stream]
    return {
        "title": section.title,
        "reference": section.reference,
        "differs": section.differs,
        "finding": finding(section, reference),
        "caveats": caveats(section.groups),
        "facts": facts,
        "samples": " to ".join(f"{n:,}" for n in shown),
        "seeds": section.seeds,
        "same_seeds": len(set(section.seeds.values())) == 1,
        "comparable_seeds": len({section.seeds[label] for label in competing}) <= 1,
        "multi_label": section.multi_label,
        "headings": section.headings,
        "counts": counts,
        "table": results,
        "any_best": any(entry.best for entries in results.values() for entry in entries),
        "csv": csv_uri(results_rows(section.columns, results, counts)),
        "by_name": section.by_name,
        "table_by_name": by_name,
        "csv_by_name": csv_uri(results_rows(section.by_name, by_name, counts)),
        "gaps": _gaps_view(section, reference),
        "references": list(final_levels(section)),
        "charts": curve_charts(section, styles, reference, gallery),
        "costs": _costs(section, styles, gallery),
        "f1": _f1_view(section, styles, gallery),
        "streams": _stream_views(section, gallery),
        "not_drawn": sum(run.folder not in gallery.chosen for run in section.runs),
        "strategies": [strategy_view(section, label, gallery, link) for label in section.groups],
    }


def _gaps_view(section: Section, reference: str) -> View | None:
    """Table of paired differences of the headline numbers; None where nothing is paired."""
    columns = [c for c in section.columns if c.key in {*HEADLINES, "task_forgetting", "bwt", "fwt"}]
    rows = []
    paired = {}
    for label, entries in section.table(columns, reference=reference).items():
        pairs = [entry.difference.pairs for entry in entries if entry.difference]
        if pairs:
            paired[label] = entries
            texts = [(difference_parts(entry), entry.verdict == "significant") for entry in entries]
            rows.append((label, max(pairs), texts))
    if not rows or not reference:
        return None
    return {
        "reference": reference,
        "columns": columns,
        "rows": rows,
        "tested": any(n > 1 for _, n, _ in rows),
        "power": power(entry for entries in paired.values() for entry in entries),
        "csv": csv_uri(difference_rows(columns, paired)),
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
    # The axis of costs is logarithmic.
    points = {label: point for label, point in points.items() if point[0] > 0}
    if len(points) < 2:
        return None
    figure = figures.cost_figure(points, styles=styles, measure=measure)
    words = ", ".join(
        f"{label} {100 * statistics.mean(values):.1f} % at {cost:.1f} F"
        for label, (cost, values) in points.items()
    )
    alt = f"{section.title}: {measure} against forward passes per training sample: {words}"
    return gallery.add(f"{section.title}-costs", figure, alt)


def _f1_view(section: Section, styles: Styles, gallery: Gallery) -> View | None:
    if not section.multi_label:
        return None
    scores = _final_f1(section)
    words = ", ".join(
        f"{label} {_percent(found.get('CF1', ()))} and {_percent(found.get('OF1', ()))}"
        for label, found in scores.items()
    )
    alt = f"{section.title}: CF1 and OF1 after the last task: {words}"
    return gallery.add(f"{section.title}-f1", figures.f1_figure(scores, styles=styles), alt)


def _percent(values: Sequence[float]) -> str:
    return f"{100 * statistics.mean(values):.1f} %" if values else "unknown"


def _final_f1(section: Section) -> dict[str, dict[str, list[float]]]:
    scores: dict[str, dict[str, list[float]]] = {label: {} for label in section.groups}
    for name, lookup in _F1.items():
        found = section.values(lookup)
        # A score that no model has would be an empty panel.
        for label, values in found.items() if any(found.values()) else ():
            scores[label][name] = values
    return scores


def _stream_views(section: Section, gallery: Gallery) -> list[tuple[str, View]]:
    """One picture for each different stream."""
    runs = sorted(section.runs, key=lambda run: run.summary["stream_seed"])
    streams = {json.dumps(run.stream, sort_keys=True): run for run in runs}
    views = []
    for run in list(streams.values())[: gallery.most]:
        seed = run.summary["stream_seed"]
        shown = stream_view(run.stream)
        figure = figures.stream_figure(shown, run.summary.get("class_names"), unit=run.unit)
        words = stream_in_words(shown, task_sizes(run), run.unit)
        alt = f"{section.title}, stream seed {seed}: {words}"
        picture = gallery.add(f"{section.title}-stream-{seed}", figure, alt)
        views.append((f"stream seed {seed}", picture))
    return views


def stream_in_words(stream: Any, sizes: Sequence[int], unit: str) -> str:
    """Tasks and classes of a stream.

    Args:
        stream: fields that ``stream_figure`` draws.
        sizes: images of each task.
        unit: of its counts.

    >>> stream = {"counts": [[3, 0], [1, 4]], "disjoint_classes": [[], [1]],
    ...           "blurry_classes": [[0], []]}
    >>> stream_in_words(stream, [3, 5], "samples")
    '8 samples of 2 classes, 1 disjoint and 1 blurry; tasks of 3 and 5 images'
    """
    counts = np.asarray(stream["counts"])
    kinds = []
    for kind in ("disjoint", "blurry"):
        n = sum(map(len, stream.get(f"{kind}_classes", ())))
        kinds += [f"{n} {kind}"] if n else []
    n = int(counts.any(axis=0).sum())
    return (
        f"{int(counts.sum()):,} {unit} of {n} {'class' if n == 1 else 'classes'}"
        f"{', ' + ' and '.join(kinds) if kinds else ''}; {_tasks(sizes)}"
    )


def _tasks(sizes: Sequence[int]) -> str:
    if len(sizes) == 1:
        return f"one task of {sizes[0]:,} images"
    if len(sizes) > 8:
        return f"{len(sizes)} tasks of {min(sizes):,} to {max(sizes):,} images"
    return f"tasks of {all_of(f'{n:,}' for n in sizes)} images"

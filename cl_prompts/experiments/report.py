"""From run folders to a table of results and one self-contained HTML page with its pictures.

Everything shown is read from the folders alone: ``summary.json``, ``metrics.csv``, ``stream.json``,
``config.yaml`` and ``environment.json``. Only finished runs count; of two runs of the same settings
and seeds only the newer one does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from cl_prompts.errors import InputError
from cl_prompts.experiments import multi_label_pictures, pictures, pictures_inside
from cl_prompts.experiments.inside import key_similarity_of, memory_matrix, usage_entropy
from cl_prompts.experiments.picture_style import MAX_SPREADS
from cl_prompts.experiments.results import (
    Run,
    Section,
    at,
    class_matrix,
    collect,
    curve_of,
    examples_of,
    rows_of,
    sections,
    stream_view,
    task_curve_of,
    task_matrix,
    usage_matrix,
)


def write_report(paths: Iterable[Path | str], out: Path | None = None) -> Path:
    """Write a self-contained ``report.html`` on all runs in ``paths``, its pictures into
    ``report_files`` beside it.

    Args:
        paths: run folders or folders above them, see ``collect``.
        out: folder to write to, or a file name that ends in ``.html``; default: the folder common
            to all paths.

    Returns:
        The HTML file. An older report there is replaced together with its pictures.

    Raises:
        InputError: see ``collect``; or ``out`` cannot be written to.
    """
    places = [Path(p) for p in paths]
    runs = collect(places)
    out = Path(os.path.commonpath([p.resolve() for p in places])) if out is None else Path(out)
    page = out if out.suffix == ".html" else out / "report.html"
    gallery = _Gallery()
    html = _render(runs, places, page.parent, gallery)
    folder = page.with_name(f"{page.stem}_files")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*.png"):
            old.unlink()
        for name, png in gallery.files.items():
            (folder / name).write_bytes(png)
        draft = page.with_suffix(".html.part")
        draft.write_text(html, encoding="utf-8")
        draft.replace(page)
    except OSError as error:
        raise InputError(f"cannot write the report to {page}: {error.strerror or error}") from error
    return page


class _Gallery:
    """Pictures by file name, as PNG bytes, drawn before anything is written."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, name: str, figure: Figure, alt: str) -> dict[str, Any]:
        """What the template needs to show ``figure``; the width is in CSS pixels, 96 an inch."""
        stem = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-").lower()
        names = (f"{stem}{suffix}.png" for suffix in ("", *(f"-{i}" for i in range(2, 10_000))))
        file = next(n for n in names if n not in self.files)
        self.files[file] = pictures.png_bytes(figure)
        uri = "data:image/png;base64," + base64.b64encode(self.files[file]).decode()
        return {"uri": uri, "alt": alt, "width": round(96 * figure.get_figwidth())}


def _render(runs: list[Run], paths: list[Path], base: Path, gallery: _Gallery) -> str:
    parts = sections(runs)
    styles = pictures.strategy_styles(label for part in parts for label in part.groups)
    counted = {run.folder for part in parts for run in part.runs}
    loader = PackageLoader("cl_prompts.experiments")
    jinja = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return jinja.get_template("report.html").render(
        title=", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs)),
        sections=[_section_view(part, styles, gallery) for part in parts],
        multi_label=any(run.multi_label for run in runs),
        runs=[
            (run, os.path.relpath(run.folder.resolve(), base.resolve()), run.folder in counted)
            for run in runs
        ],
        n_finished=sum(run.finished for run in runs),
        environments=_environments(runs),
        commands=list(
            dict.fromkeys(str(run.summary["command"]) for run in runs if run.summary.get("command"))
        ),
        report_command="cl-prompts report " + shlex.join(map(str, paths)),
    )


def _section_view(section: Section, styles: Mapping[str, Any], gallery: _Gallery) -> dict[str, Any]:
    runs, first = section.runs, section.runs[0].summary
    seeds = {label: [run.seeds for run in group] for label, group in section.groups.items()}
    lengths = sorted({run.summary["samples"] for run in runs})
    return {
        "title": section.title,
        "facts": first,
        "samples": " to ".join(f"{n:,}" for n in dict.fromkeys((lengths[0], lengths[-1]))),
        "seeds": seeds,
        "same_seeds": len(set(map(tuple, seeds.values()))) == 1,
        "multi_label": section.runs[0].multi_label,
        "headings": section.headings,
        "rows": rows_of(section),
        **_curves_view(section, styles, gallery),
        "streams": _stream_views(section, gallery),
        "strategies": [
            (name, [_run_view(name, run, gallery) for run in g])
            for name, g in section.groups.items()
        ],
        "configs": [
            (name, yaml.safe_dump(dict(g[0].config), sort_keys=False))
            for name, g in section.groups.items()
        ],
    }


def _spread(n_seeds: list[int], n_curves: int) -> str:
    """What a picture of curves shows of seeds."""
    if max(n_seeds) == 1:
        return "One seed each."
    if n_curves > MAX_SPREADS:
        return "Means over seeds; the table has their spread."
    return "Thick: mean over seeds; band: ± one sample standard deviation; thin: single seeds."


def _curves_view(section: Section, styles: Mapping[str, Any], gallery: _Gallery) -> dict[str, Any]:
    """The anytime curve of the rows that have any, or else the curve over tasks; of the references
    the final value."""
    last = "map_last" if section.runs[0].multi_label else "a_last"
    whole = {
        label for label, group in section.groups.items() if group[0].summary.get("whole_stream")
    }
    references = {
        label: statistics.mean(values)
        for label in section.groups
        if label in whole
        and (
            values := [
                v
                for r in section.groups[label]
                if (v := at("results", last)(r.summary)) is not None
            ]
        )
    }
    streamed = {label: group for label, group in section.groups.items() if label not in whole}
    curves = {
        label: c
        for label, group in streamed.items()
        if (c := [x for run in group if (x := curve_of(run))])
    }
    over_tasks = {label: [task_curve_of(run) for run in group] for label, group in streamed.items()}
    ends = [run.summary["task_ends"] for group in streamed.values() for run in group]
    same_ends = all(e == ends[0] for e in ends)
    measure = "mAP" if section.runs[0].multi_label else "accuracy"
    views: dict[str, Any] = {"curves": None, "task_curves": None, "f1": None}
    if curves:
        figure = pictures.curve_figure(
            curves,
            ends[0] if same_ends else None,
            references=references,
            styles=styles,
            measure=measure,
        )
        views["curves"] = gallery.add(
            f"{section.title}-curves", figure, f"anytime {measure} over samples seen"
        )
    if over_tasks and (section.runs[0].multi_label or not curves):
        figure = multi_label_pictures.map_figure(
            over_tasks, references=references, styles=styles, measure=measure
        )
        views["task_curves"] = gallery.add(
            f"{section.title}-tasks", figure, f"{measure} after each task"
        )
    if section.runs[0].multi_label:
        figure = multi_label_pictures.f1_figure(_final_f1(section), styles=styles)
        views["f1"] = gallery.add(f"{section.title}-f1", figure, "CF1 and OF1 of each strategy")
    views["spread"] = _spread(
        [len(group) for group in section.groups.values()], len(curves or over_tasks)
    )
    return {**views, "measure": measure, "same_ends": same_ends, "references": list(references)}


def _final_f1(section: Section) -> dict[str, dict[str, list[float]]]:
    names = {
        "cf1_80": "CF1 at 0.8",
        "of1_80": "OF1 at 0.8",
        "cf1_50": "CF1 at 0.5",
        "of1_50": "OF1 at 0.5",
    }
    return {
        label: {
            name: [v for run in group if (v := at("results", key)(run.summary)) is not None]
            for key, name in names.items()
        }
        for label, group in section.groups.items()
    }


def _stream_views(section: Section, gallery: _Gallery) -> list[tuple[str, dict[str, Any]]]:
    """One picture for each different stream."""
    streams = {
        json.dumps(r.stream, sort_keys=True): r
        for r in sorted(section.runs, key=lambda r: r.summary["stream_seed"])
    }
    views = []
    for run in streams.values():
        seed = run.summary["stream_seed"]
        unit = "labels" if run.multi_label else "samples"
        figure = pictures.stream_figure(
            stream_view(run.stream), run.summary.get("class_names"), unit=unit
        )
        views.append(
            (
                f"stream seed {seed}",
                gallery.add(f"{section.title}-stream-{seed}", figure, "classes over tasks"),
            )
        )
    return views


def _run_view(
    label: str, run: Run, gallery: _Gallery
) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The pictures of one run, each with its caption; those that it has no numbers for are left
    out."""
    views = []
    name = f"{run.summary['recipe']}-{label}-seed-{run.seeds}"
    ends = run.summary["task_ends"]
    names, measure = (
        run.summary.get("class_names"),
        "average precision" if run.multi_label else "accuracy",
    )
    if curve_of(run):
        x, matrix = class_matrix(run)
        figure = pictures.class_heatmap_figure(
            x, matrix, names, ends[:-1], measure=measure if run.multi_label else f"class {measure}"
        )
        caption = f"{measure.capitalize()} of each class over samples seen; white lines end tasks."
        views.append((caption, gallery.add(f"{name}-classes", figure, "class accuracy")))
    elif not run.summary.get("whole_stream"):
        figure = multi_label_pictures.ap_heatmap_figure(
            class_matrix(run)[1], names, measure=measure
        )
        caption = (
            f"{measure.capitalize()} of each class after every task, and what was forgotten of it;"
            " grey: not seen yet."
        )
        views.append(
            (caption, gallery.add(f"{name}-classes", figure, "class accuracy after tasks"))
        )
    matrix = task_matrix(run)
    if (~np.isnan(matrix)).any(0).sum() > 1:
        what = "mAP" if run.multi_label else "accuracy"
        caption = (
            f"{'mAP' if run.multi_label else 'Accuracy'} on the classes first seen in a task, after"
            " every task, and its forgetting; grey: none."
        )
        figure = pictures.task_heatmap_figure(matrix, measure=what)
        views.append((caption, gallery.add(f"{name}-tasks", figure, "task accuracy")))
    views += [
        (caption, gallery.add(f"{name}-{what}", figure, alt))
        for what, alt, caption, figure in _inside(run)
    ]
    if examples := examples_of(run):
        figure = multi_label_pictures.examples_figure(**examples, class_names=names)
        caption = (
            "Test images after the last task, with labels predicted at a probability above 0.5."
        )
        views.append(
            (caption, gallery.add(f"{name}-examples", figure, "test images with their labels"))
        )
    return f"seed {run.seeds}", views


def _inside(run: Run) -> Iterator[tuple[str, str, str, Figure]]:
    """(short name, alternative text, caption, picture) of what one sees inside a run's prompts and
    memory."""
    usage = usage_matrix(run)
    if usage.size:
        caption = (
            "Use of the prompts in training, task by task, and the entropy H of each task's shares:"
            " 2^H prompts used alike would have it; dashed: all of them. A use is a selection;"
            " where prompts are mixed, a weight of absolute value 1."
        )
        yield (
            "usage",
            "prompt usage",
            caption,
            pictures_inside.usage_figure(usage, usage_entropy(usage)),
        )
    similarity = key_similarity_of(run.folder)
    if similarity is not None:
        caption = (
            "How alike the keys of the prompts are after the last task; mean over blocks where they"
            " have keys of their own."
        )
        yield "keys", "similarity of keys", caption, pictures_inside.key_figure(similarity)
    memory = memory_matrix(run)
    if memory.size:
        caption = (
            "What the replay memory held after each task, by class, classes held first at the"
            " bottom."
        )
        figure = pictures_inside.memory_figure(
            memory, run.summary.get("class_names"), unit="labels" if run.multi_label else "samples"
        )
        yield "memory", "replay memory", caption, figure


def _environments(runs: Sequence[Run]) -> list[tuple[int, dict[str, Any]]]:
    """Different environments, apart from the time, and how many finished runs had each."""
    count: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.finished:
            count[
                json.dumps(
                    {k: v for k, v in run.environment.items() if k not in ("time", "command")}
                )
            ] += 1
    return [(n, json.loads(text)) for text, n in count.items()]

"""From run folders to a table of results and one self-contained HTML page with its pictures.

Everything shown is read from the folders alone: ``summary.json``, ``metrics.csv``, ``stream.json``, ``config.yaml`` and
``environment.json``. Only finished runs count; of two runs of the same settings and seeds only the newer one does.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from cl_prompts.errors import InputError
from cl_prompts.experiments import pictures
from cl_prompts.experiments.results import (
    HEADINGS,
    Run,
    Section,
    at,
    class_matrix,
    collect,
    curve_of,
    rows_of,
    sections,
    task_matrix,
    usage_matrix,
)


def write_report(paths: Iterable[Path | str], out: Path | None = None) -> Path:
    """Write a self-contained ``report.html`` on all runs in ``paths``, its pictures into ``report_files`` beside it.

    Args:
        paths: run folders or folders above them, see ``collect``.
        out: folder to write to, or a file name that ends in ``.html``; default: the folder common to all paths.

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
    jinja = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return jinja.get_template("report.html").render(
        title=", ".join(dict.fromkeys(str(run.summary["recipe"]) for run in runs)),
        sections=[_section_view(part, styles, gallery) for part in parts],
        headings=HEADINGS,
        runs=[(run, os.path.relpath(run.folder.resolve(), base.resolve()), run.folder in counted) for run in runs],
        n_finished=sum(run.finished for run in runs),
        environments=_environments(runs),
        commands=list(dict.fromkeys(str(run.summary["command"]) for run in runs if run.summary.get("command"))),
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
        "most_seeds": max(map(len, seeds.values())),
        "same_seeds": len(set(map(tuple, seeds.values()))) == 1,
        "rows": rows_of(section),
        **_curves_view(section, styles, gallery),
        "streams": _stream_views(section, gallery),
        "strategies": [(name, [_run_view(name, run, gallery) for run in g]) for name, g in section.groups.items()],
        "configs": [(name, yaml.safe_dump(dict(g[0].config), sort_keys=False)) for name, g in section.groups.items()],
    }


def _curves_view(section: Section, styles: Mapping[str, Any], gallery: _Gallery) -> dict[str, Any]:
    """Anytime accuracy of the rows that have any; of the others, the references, the final accuracy."""
    curves = {label: [c for run in group if (c := curve_of(run))] for label, group in section.groups.items()}
    final = {label: [at("results", "a_last")(run.summary) for run in section.groups[label]] for label in curves}
    references = {
        label: statistics.mean(v for v in final[label] if v is not None)
        for label in curves
        if not curves[label] and any(v is not None for v in final[label])
    }
    curves = {label: c for label, c in curves.items() if c}
    ends = [run.summary["task_ends"] for run in section.runs if curve_of(run)]
    same_ends = all(e == ends[0] for e in ends)
    picture = None
    if curves:
        figure = pictures.curve_figure(curves, ends[0] if same_ends else None, references=references, styles=styles)
        picture = gallery.add(f"{section.title}-curves", figure, "anytime accuracy over samples seen")
    return {"curves": picture, "same_ends": same_ends, "references": list(references)}


def _stream_views(section: Section, gallery: _Gallery) -> list[tuple[str, dict[str, Any]]]:
    """One picture for each different stream."""
    streams = {
        json.dumps(r.stream, sort_keys=True): r for r in sorted(section.runs, key=lambda r: r.summary["stream_seed"])
    }
    views = []
    for run in streams.values():
        seed = run.summary["stream_seed"]
        figure = pictures.stream_figure(run.stream, run.summary.get("class_names"))
        views.append(
            (f"stream seed {seed}", gallery.add(f"{section.title}-stream-{seed}", figure, "classes over tasks"))
        )
    return views


def _run_view(label: str, run: Run, gallery: _Gallery) -> tuple[str, list[tuple[str, dict[str, Any]]]]:
    """The pictures of one run, each with its caption; those that it has no numbers for are left out."""
    views = []
    name = f"{run.summary['recipe']}-{label}-seed-{run.seeds}"
    ends = run.summary["task_ends"]
    if curve := curve_of(run):
        x = [point for point, _ in curve]
        names = run.summary.get("class_names")
        figure = pictures.class_heatmap_figure(x, class_matrix(run), names, ends[:-1])
        views.append(
            (
                "Accuracy of each class over samples seen; white lines end tasks.",
                gallery.add(f"{name}-classes", figure, "class accuracy"),
            )
        )
    matrix = task_matrix(run)
    if (~np.isnan(matrix)).any(0).sum() > 1:
        caption = "Accuracy on the classes first seen in a task, after every task, and its forgetting; grey: none."
        views.append((caption, gallery.add(f"{name}-tasks", pictures.task_heatmap_figure(matrix), "task accuracy")))
    usage = usage_matrix(run)
    if usage.size:
        caption = "How often each prompt was selected in training."
        views.append((caption, gallery.add(f"{name}-usage", pictures.usage_figure(usage), "prompt usage")))
    return f"seed {run.seeds}", views


def _environments(runs: Sequence[Run]) -> list[tuple[int, dict[str, Any]]]:
    """Different environments, apart from the time, and how many finished runs had each."""
    count: dict[str, int] = defaultdict(int)
    for run in runs:
        if run.finished:
            count[json.dumps({k: v for k, v in run.environment.items() if k not in ("time", "command")})] += 1
    return [(n, json.loads(text)) for text, n in count.items()]

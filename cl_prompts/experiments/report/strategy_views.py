"""Values for the report's template: one row task by task, run by run, and its settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cl_prompts.experiments import figures
from cl_prompts.experiments.recipes.values import yaml_text
from cl_prompts.experiments.report.class_maps import class_map
from cl_prompts.experiments.report.downloads import csv_uri
from cl_prompts.experiments.report.gallery import Gallery
from cl_prompts.experiments.report.run_pictures import pictures_of
from cl_prompts.experiments.report.task_tables import (
    MAX_SPREADS,
    MAX_TASKS,
    TaskMatrix,
    csv_rows,
    in_words,
    mean_matrix,
    table_rows,
)
from cl_prompts.experiments.results.before_after import BeforeAfter, before_after
from cl_prompts.experiments.results.sections import Section
from cl_prompts.experiments.results.series import by_points
from cl_prompts.experiments.run_folder.runs import Run, title_of

View = dict[str, Any]
#: pictures of half the page's width, which stand side by side for all runs
_SMALL = ("classes", "keys")
#: address of a file or folder, as a page has to write it
Link = Callable[[Path], str]


def strategy_view(section: Section, label: str, gallery: Gallery, link: Link) -> View:
    """Its tasks over all seeds, pictures of each run, settings, and where these lie.

    Args:
        section: the table.
        label: the row.
        gallery: draws the pictures.
        link: address of a file, as the page has to write it.
    """
    group = section.groups[label]
    runs = [_run_view(section.title, label, run, gallery, link) for run in group]
    return {
        "label": label,
        "tasks": _tasks_view(section.title, label, group, gallery),
        "runs": runs,
        "multiples": [_multiple(name, runs) for name in _SMALL],
        "config": yaml_text(dict(group[0].config)),
    }


def _multiple(name: str, runs: list[View]) -> View:
    """One kind of picture of all runs, to stand side by side; their captions are one."""
    found = [(run["name"], run["small"][name]) for run in runs if name in run["small"]]
    return {"pictures": found, "caption": found[0][1]["caption"] if found else ""}


def _tasks_view(title: str, label: str, group: list[Run], gallery: Gallery) -> View | None:
    """The matrix of tasks, as a table or, with many tasks, as a picture."""
    matrix = mean_matrix(group)
    if not matrix.shown:
        return None
    measure = "mAP" if group[0].multi_label else "accuracy"
    on = "domain" if matrix.by_domain else "classes"
    whose = f"{title}, {label}: {measure} on the {on} of each task after every task"
    alt = f"{whose}, {_over(len(group))}: {in_words(matrix)}"
    n_tasks = len(matrix.mean)
    picture = None
    if n_tasks > MAX_TASKS:
        figure = figures.task_heatmap_figure(matrix.mean, measure=measure, rows=matrix.rows)
        picture = gallery.add(f"{title}-{label}-tasks", figure, alt)
    return {
        "alt": alt,
        "picture": picture,
        "rows": [] if picture else table_rows(matrix),
        "csv": csv_uri(csv_rows(matrix, measure)),
        "heading": matrix.heading,
        "names": matrix.names,
        "caption": f"{title_of(measure)} in percent on {matrix.measured_on} (rows),"
        " measured after every task (columns), and its final forgetting in points. Empty: not"
        " measured.",
        "over": _seeds_in_words(matrix),
    }


def _over(seeds: int) -> str:
    return f"mean over {seeds} seeds" if seeds > 1 else "one seed"


def _seeds_in_words(matrix: TaskMatrix) -> str:
    """The kind of numbers, and over how many seeds."""
    counts = matrix.count[matrix.count > 0]
    most = int(counts.max())
    if most == 1:
        return "One seed: no standard deviation."
    fewer = f", in some cells over {int(counts.min())}" if counts.min() < most else ""
    spread = " ± one sample standard deviation" if len(matrix.mean) <= MAX_SPREADS else ""
    others = "are of other domains" if matrix.by_domain else "hold other classes"
    differ = "" if matrix.domains else f", whose tasks {others} where their streams differ"
    return f"Means{spread} over {most} seeds{fewer}{differ}."


def _run_view(title: str, label: str, run: Run, gallery: Gallery, link: Link) -> View:
    """Pictures of one run, each with its caption; none where it has no numbers."""
    stem = f"{run.summary['recipe']}-{label}-seed-{run.seeds}"
    whose = f"{title}, {label}, seed {run.seeds}"
    shown: list[View] = []
    small: dict[str, View] = {}
    for picture in pictures_of(run):
        name = f"{stem}-{picture.name}"
        alt = f"{whose}: {picture.alt}"
        # The page itself shows these numbers as a table or an image of its own.
        if picture.as_html:
            gallery.add_file(name, picture.draw)
        if picture.name == "classes" and by_points(run):
            small["classes"] = {"map": class_map(run, alt), "caption": picture.caption}
        elif not picture.as_html and run.folder in gallery.chosen:
            image = gallery.add(name, picture.draw(), alt)
            view = {"image": image, "caption": picture.caption}
            if picture.name == "keys":
                small["keys"] = view
            else:
                shown.append(view)
    return {
        "name": f"seed {run.seeds}",
        "folder": link(run.folder),
        "settings": link(run.folder / "config.yaml"),
        "shown": shown,
        "small": small,
        "lineage": _lineage(run),
    }


def _lineage(run: Run) -> View | None:
    """The chain of runs that one goes on from, and its scores before and after; None for a run that
    goes on from no other."""
    rows = before_after(run)
    if not rows or "parent" not in run.config:
        return None
    parent = run.config["parent"]
    sizes = [*parent["sizes"], [run.summary["n_classes"], run.summary["n_tasks"]]]
    steps = [f"{classes} classes after {tasks} tasks" for classes, tasks in sizes]
    table = [(row.name, _percent(row.before), _percent(row.after), _gain(row)) for row in rows]
    return {"timeline": " → ".join(steps), "parent": parent["run"], "rows": table}


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f}"


def _gain(row: BeforeAfter) -> str:
    return "" if row.change is None else f"{100 * row.change:+.1f}"

"""Pictures of one run for the report, each with its caption; none where it has no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure

from cl_prompts.experiments import figures
from cl_prompts.experiments.report import class_maps, picture_words
from cl_prompts.experiments.results.series import (
    buffer_matrix,
    class_matrix,
    curve_of,
    examples_of,
    key_similarity_of,
    task_matrix,
    usage_entropy,
    usage_matrix,
)
from cl_prompts.experiments.run_folder.runs import Run, title_of


@dataclass(frozen=True)
class RunPicture:
    """A picture of a run.

    Attributes:
        name: short name, for its file.
        alt: alternative text: what it shows, with numbers.
        caption: text below it.
        draw: draws it.
        as_html: whether the page shows the same numbers without it.
    """

    name: str
    alt: str
    caption: str
    draw: Callable[[], Figure]
    as_html: bool = False


def pictures_of(run: Run) -> Iterator[RunPicture]:
    """All pictures of a run.

    Raises:
        InputError: a file of arrays in its folder is damaged.
    """
    yield from _class_pictures(run)
    yield from _task_pictures(run)
    yield from _inside_pictures(run)
    yield from _examples(run)


def _class_pictures(run: Run) -> Iterator[RunPicture]:
    measure = "average precision" if run.multi_label else "accuracy"
    names = run.summary.get("class_names")
    points, matrix = class_matrix(run)
    if not points:
        return
    if curve_of(run):
        yield RunPicture(
            "classes",
            f"{measure} of each class over samples seen: {class_maps.in_words(run)}",
            f"{measure.capitalize()} of each class over samples seen; lines end tasks.",
            partial(
                figures.class_heatmap_figure,
                points,
                matrix,
                names,
                run.summary["task_ends"][:-1],
                measure=measure if run.multi_label else "class accuracy",
            ),
            as_html=True,
        )
    elif not run.whole_stream:
        yield RunPicture(
            "classes",
            f"{measure} of each class after every task: {class_maps.in_words(run)}",
            f"{measure.capitalize()} of each class after every task, and its final forgetting;"
            " grey: not seen yet.",
            partial(figures.class_forgetting_figure, matrix, names, measure=measure),
        )


def _task_pictures(run: Run) -> Iterator[RunPicture]:
    matrix = task_matrix(run)
    measured_after = (~np.isnan(matrix)).any(axis=0)
    if measured_after.sum() > 1:
        measure = "mAP" if run.multi_label else "accuracy"
        yield RunPicture(
            "tasks",
            f"{measure} on the classes of each task",
            f"{title_of(measure)} on the classes first seen in each task, after every task, and its"
            " final forgetting; grey: not measured.",
            partial(figures.task_heatmap_figure, matrix, measure=measure),
            as_html=True,
        )


def _inside_pictures(run: Run) -> Iterator[RunPicture]:
    """Prompt usage, similarity of keys and content of the replay buffer."""
    usage = usage_matrix(run)
    if usage.size:
        entropy = usage_entropy(usage)
        yield RunPicture(
            "usage",
            f"prompt usage: {picture_words.of_usage(usage, entropy)}",
            "Prompt usage in training, task by task, and the entropy H of each task's shares, as"
            " high as that of 2^H prompts used alike; dashed: uniform usage. One use is one"
            " selection or, where prompts are mixed, a weight of absolute value 1.",
            partial(figures.usage_figure, usage, entropy),
        )
    similarity = key_similarity_of(run.folder)
    if similarity is not None:
        yield RunPicture(
            "keys",
            f"similarity of keys: {picture_words.of_keys(similarity)}",
            "Cosine similarity of the prompt keys after the last task, averaged over blocks that"
            " have keys of their own.",
            partial(figures.key_figure, similarity),
        )
    held = buffer_matrix(run)
    if held.size:
        yield RunPicture(
            "buffer",
            f"replay buffer: {picture_words.of_buffer(held, run.unit)}",
            "Content of the replay buffer after each task, by class; classes held first are at the"
            " bottom.",
            partial(figures.buffer_figure, held, run.summary.get("class_names"), unit=run.unit),
        )


def _examples(run: Run) -> Iterator[RunPicture]:
    examples = examples_of(run)
    if examples is not None:
        yield RunPicture(
            "examples",
            f"test images with their labels: {picture_words.of_examples(**examples)}",
            "Test images after the last task, with labels predicted at a probability above 0.5.",
            partial(
                figures.examples_figure, **examples, class_names=run.summary.get("class_names")
            ),
        )

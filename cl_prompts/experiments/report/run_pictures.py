"""Pictures of one run for the report, each with its caption; none where it has no numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from cl_prompts.experiments import figures
from cl_prompts.experiments.report import class_maps
from cl_prompts.experiments.results.series import (
    buffer_matrix,
    by_points,
    class_matrix,
    domains_of,
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
    yield from _diagnostics(run)
    yield from _examples(run)


def _class_pictures(run: Run) -> Iterator[RunPicture]:
    measure = "average precision" if run.multi_label else "accuracy"
    names = run.summary.get("class_names")
    points, matrix = class_matrix(run)
    if not points:
        return
    if by_points(run):
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
    # After one task there is nothing to compare, and nothing forgotten.
    if measured_after.sum() > 1:
        measure = "mAP" if run.multi_label else "accuracy"
        domains = domains_of([run])
        of_each = f"domain of each task ({', '.join(domains)})" if domains else ""
        yield RunPicture(
            "tasks",
            f"{measure} on the {of_each or 'classes of each task'}",
            f"{title_of(measure)} on the {of_each or 'classes first seen in each task'}, after"
            " every task, and its final forgetting; grey: not measured.",
            partial(
                figures.task_heatmap_figure,
                matrix,
                measure=measure,
                rows="domain of task" if domains else "classes first seen in task",
            ),
            as_html=True,
        )


def _diagnostics(run: Run) -> Iterator[RunPicture]:
    """Prompt usage, similarity of keys and content of the replay buffer."""
    usage = usage_matrix(run)
    if usage.size:
        entropy = usage_entropy(usage)
        yield RunPicture(
            "usage",
            f"prompt usage: {usage_in_words(usage, entropy)}",
            "Prompt usage in training, task by task, and the entropy H of each task's shares, as"
            " high as that of 2^H prompts used alike; dashed: uniform usage. One use is one"
            " selection or, where prompts are mixed, a weight of absolute value 1.",
            partial(figures.usage_figure, usage, entropy),
        )
    similarity = key_similarity_of(run.folder)
    if similarity is not None:
        yield RunPicture(
            "keys",
            f"similarity of keys: {keys_in_words(similarity)}",
            "Cosine similarity of the prompt keys after the last task, averaged over blocks that"
            " have keys of their own.",
            partial(figures.key_figure, similarity),
        )
    held = buffer_matrix(run)
    if held.size:
        yield RunPicture(
            "buffer",
            f"replay buffer: {buffer_in_words(held, run.unit)}",
            "Content of the replay buffer after each task, by class; classes held first are at the"
            " bottom.",
            partial(figures.buffer_figure, held, run.summary.get("class_names"), unit=run.unit),
        )


def _examples(run: Run) -> Iterator[RunPicture]:
    examples = examples_of(run)
    if examples is not None:
        yield RunPicture(
            "examples",
            f"test images with their labels: {examples_in_words(**examples)}",
            "Test images after the last task, with labels predicted at a probability above 0.5, or,"
            " of a ridge regression, above its threshold.",
            partial(
                figures.examples_figure, **examples, class_names=run.summary.get("class_names")
            ),
        )


def usage_in_words(counts: ArrayLike, entropy: ArrayLike) -> str:
    """Uses of prompts.

    Args:
        counts: (tasks, prompts) uses.
        entropy: (tasks,) in bits, NaN for a task without any.

    >>> usage_in_words([[1, 3], [2, 2]], [0.81, 1.0])
    '2 prompts, entropy of a task 0.81 to 1.00 bits of 1.00; most used is prompt 1, 62 % of all'
    """
    values = np.asarray(counts, float)
    bits = np.asarray(entropy, float)
    total = values.sum(axis=0)
    n = len(total)
    if np.isnan(bits).all() or not total.sum():
        return f"{n} prompts, none used"
    most = int(total.argmax())
    return (
        f"{n} prompts, entropy of a task {np.nanmin(bits):.2f} to {np.nanmax(bits):.2f} bits of"
        f" {np.log2(n):.2f}; most used is prompt {most}, {100 * total[most] / total.sum():.0f} % of"
        " all"
    )


def keys_in_words(similarity: ArrayLike) -> str:
    """Cosines between different keys.

    >>> keys_in_words([[1, 0.5], [0.5, 1]])
    '2 keys, cosine between two of them from 0.50 to 0.50, mean 0.50'
    """
    values = np.asarray(similarity, float)
    # Without the diagonal, where each key meets itself.
    others = values[~np.eye(len(values), dtype=bool)]
    others = others[~np.isnan(others)]
    if not len(others):
        return f"{len(values)} key"
    return (
        f"{len(values)} keys, cosine between two of them from {others.min():.2f} to"
        f" {others.max():.2f}, mean {others.mean():.2f}"
    )


def buffer_in_words(counts: ArrayLike, unit: str) -> str:
    """Content of a buffer at the end.

    Args:
        counts: (tasks, classes).
        unit: of the counts.

    >>> buffer_in_words([[4, 0], [2, 2]], "samples")
    'after the last task 4 samples, 2 to 2 of each of 2 classes'
    """
    last = np.asarray(counts, float)[-1]
    held = last[last > 0]
    if not len(held):
        return "empty after the last task"
    return (
        f"after the last task {held.sum():.0f} {unit}, {held.min():.0f} to {held.max():.0f} of each"
        f" of {len(held)} classes"
    )


def examples_in_words(images: ArrayLike, truth: ArrayLike, predicted: ArrayLike) -> str:
    """Labels that were found, missed and wrongly predicted.

    >>> examples_in_words([0, 0], [[1, 0], [1, 1]], [[1, 1], [0, 1]])
    '2 images, 2 labels found, 1 missed, 1 wrongly predicted'
    """
    true = np.asarray(truth, bool)
    guessed = np.asarray(predicted, bool)
    return (
        f"{len(np.asarray(images))} images, {int((true & guessed).sum())} labels found,"
        f" {int((true & ~guessed).sum())} missed, {int((guessed & ~true).sum())} wrongly predicted"
    )

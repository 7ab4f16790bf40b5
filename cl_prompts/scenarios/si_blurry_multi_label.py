"""Si-Blurry for images with several labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cl_prompts.datasets.classes import check_label_matrix, check_positives, count_positives
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry import Leftover, blurry_stream
from cl_prompts.scenarios.split import Classes, Split


def si_blurry_multi_label_split(
    labels: Any,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
    test_labels: Any = None,
) -> MultiLabelSplit:
    """Split multi-label images into tasks with stochastic blurry boundaries, each image in one
    task.

    This project's own extension of ``si_blurry_split`` (Moon et al., ICCV 2023); no paper defines
    one.

    1. An image's *anchor* is the rarest of its labels (the one with the fewest training images; the
       lowest id among equals), so that rare classes keep their images together. Images without any
       label are in no task.
    2. ``si_blurry_split`` runs unchanged on the anchors, with the same draws: all C classes take
       part in them, also one that is no image's anchor. An image comes when its anchor sample
       comes.
    3. A class that is no image's anchor would have a home without samples. Its home becomes the
       task in which most of its images come (the first among equals), if one of them comes at all.
    4. In task t the classes are annotated ("visible") that have their home in t or are the anchor
       of an image in t, as far as an image in t shows them. Every label of such a class is seen in
       t, anchor or not; all other labels of the task's images are hidden, that is 0 to the learner.

    For every result:

    * each image with a label comes once (none is lost unless ``leftover="drop"``), and its anchor
      is visible there;
    * a disjoint class is visible in its home task alone; a blurry one at home and wherever its
      anchored images went;
    * with ``leftover="keep"`` each class has a visible positive somewhere, so all classes are seen
      at the end;
    * with one label per image nothing is hidden, and tasks, counts and classes equal
      ``si_blurry_split`` bit for bit.

    ``result.anchors`` is the stream of anchors as a ``Split``: ``disjoint_classes`` and
    ``blurry_classes`` by home, with point 3 applied, and the number of visitors. Boundaries are not
    announced.

    Example:
        >>> from cl_prompts.scenarios import si_blurry_multi_label_split
        >>> labels = [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1]]
        >>> split = si_blurry_multi_label_split(labels, n_tasks=2, seed=3)
        >>> split.sizes, [task.classes for task in split]
        ([2, 2], [(2,), (0, 1, 3)])

    Args:
        labels: 0/1 matrix (n, C) of the training images; every class must be positive in one of
            them.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see
            ``si_blurry_split``.
        test_labels: 0/1 matrix (n_test, C) of the test images; without it ``test_indices`` is
            refused.

    Raises:
        InputError: a matrix that is not 2-D of zeros and ones, a class without training images,
            test labels of another width, or a parameter out of its range.
    """
    matrix = check_label_matrix(labels, "labels")
    check_positives(matrix, "labels")
    # Point 1: anchors; point 2: their stream.
    rows, anchors = anchor_labels(matrix)
    n_classes = matrix.shape[1]
    stream = blurry_stream(
        anchors, n_classes, n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover
    )
    # From here on the anchors' stream counts rows of the data set, unlabelled images included.
    tasks = tuple(rows[chosen] for chosen in stream.tasks)
    stream = replace(stream, tasks=tasks, n_samples=len(matrix))
    # Point 3: homes of classes without anchors; point 4: which classes are visible where.
    stream = _homes_near_images(stream, count_positives(matrix, tasks))
    at_home = np.arange(stream.n_tasks)[:, None] == stream.homes
    split = MultiLabelSplit.of(
        stream.name,
        matrix,
        tasks,
        visible=at_home | (stream.counts > 0),
        test_labels=test_labels,
        parameters=stream.parameters,
    )
    return replace(split, anchors=stream)


def anchor_labels(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that have a label, (m,) int64 ascending, and the rarest label of each, (m,) int64;
    ties go to the lowest id.

    Example:
        >>> rows, anchors = anchor_labels(np.array([[1, 1], [0, 0], [0, 1]]))
        >>> rows.tolist(), anchors.tolist()
        ([0, 2], [0, 1])
    """
    # Columns from the rarest class on, ties by id: an image's first positive is its anchor.
    by_rarity = np.argsort(matrix.sum(axis=0, dtype=np.int64), kind="stable")
    rows = np.flatnonzero(matrix.any(axis=1))
    return rows, by_rarity[matrix[rows][:, by_rarity].argmax(axis=1)]


def _homes_near_images(stream: Split, positives: np.ndarray) -> Split:
    """Move the home of each class without samples of its own to the task with most of its
    images."""
    homes = stream.homes
    # No anchored sample, but images that come: the task with most of them, unless home has as many.
    moved = np.flatnonzero(~stream.counts.any(axis=0) & positives.any(axis=0) & (homes >= 0))
    new = {
        int(c): int(positives[:, c].argmax())
        for c in moved
        if positives[homes[c], c] < positives[:, c].max()
    }
    if not new:
        return stream

    # A class keeps its kind, disjoint or blurry; its task alone changes.
    def rehomed(by_task: Classes) -> Classes:
        kind = [c for classes in by_task for c in classes if c in new]
        return tuple(
            (*(c for c in classes if c not in new), *(c for c in kind if new[c] == task))
            for task, classes in enumerate(by_task)
        )

    return replace(
        stream,
        disjoint_classes=rehomed(stream.disjoint_classes),
        blurry_classes=rehomed(stream.blurry_classes),
    )

"""Si-Blurry for images with several labels."""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.datasets.classes import count_labels, positive_matrix
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry import Leftover, blurry_stream
from cl_prompts.scenarios.split import Classes, Split


def si_blurry_multi_label_split(
    labels: ArrayLike,
    *,
    n_tasks: int = 5,
    disjoint_percent: int = 50,
    blurry_percent: int = 10,
    seed: int = 1,
    stochastic: bool = True,
    leftover: Leftover = "keep",
) -> MultiLabelSplit:
    """Split multi-label images into tasks with blurry boundaries, each image in one task.

    This project's own extension of ``si_blurry_split`` (Moon et al., ICCV 2023); no paper defines
    one.

    1. An image's *anchor* is the rarest of its labels (fewest training images; the lowest id among
       equals), so that rare classes keep their images together. Images without any label are in no
       task.
    2. ``si_blurry_split`` runs on the anchors, with the same draws. All C classes take part, even
       one that is not an anchor of any image. Each image takes the place of its anchor.
    3. A class that is not an anchor of any image would have a home without samples. Its home
       becomes the task with most of its images (the first among equals), unless its home has as
       many.
    4. Task t annotates ("visible") the classes with their home in t and the anchors of its images,
       if an image of t shows them. The learner sees every label of such a class in t. The other
       labels of the task's images are hidden, that is 0 to the learner.

    For every result:

    * each image with a label occurs once (with ``leftover="drop"`` some are dropped), in a task
      where its anchor is visible;
    * a disjoint class is visible in its home task alone; a blurry class also in the other tasks
      with images that it anchors;
    * with ``leftover="keep"`` each class has a visible positive, so all classes are seen at the
      end;
    * with one label per image nothing is hidden, and tasks, counts and classes equal
      ``si_blurry_split`` bit for bit.

    ``result.anchors`` is the stream of anchors as a ``Split``, with the homes of point 3.
    Boundaries are not announced.

    Example:
        >>> from cl_prompts.scenarios import si_blurry_multi_label_split
        >>> labels = [[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0], [0, 0, 1, 1]]
        >>> split = si_blurry_multi_label_split(labels, n_tasks=2, seed=3)
        >>> split.sizes, split.visible.astype(int).tolist()
        ([2, 2], [[0, 0, 1, 0], [1, 1, 0, 1]])

    Args:
        labels: 0/1 matrix (n, C) of the training images; each class must be positive in at
            least one.
        n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover: see
            ``si_blurry_split``.

    Raises:
        InputError: not a 0/1 matrix, a class without training images, or a parameter out of its
            range.
    """
    matrix, n_classes = positive_matrix(labels, "labels")
    # Point 1: anchors; point 2: their stream.
    rows, anchors = anchor_labels(matrix)
    stream = blurry_stream(
        anchors, n_classes, n_tasks, disjoint_percent, blurry_percent, seed, stochastic, leftover
    )
    # Rows of the data set, including unlabelled images.
    tasks = tuple(rows[chosen] for chosen in stream.tasks)
    stream = replace(stream, tasks=tasks, n_samples=len(matrix))
    # Point 3: homes of classes without anchors; point 4: which classes are visible where.
    stream = _homes_near_images(stream, count_labels(matrix, tasks, n_classes))
    at_home = np.arange(stream.n_tasks)[:, None] == stream.homes
    return MultiLabelSplit.of(
        stream.name,
        matrix,
        tasks,
        visible=at_home | stream.visible,
        parameters=stream.parameters,
        anchors=stream,
    )


def anchor_labels(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the labelled rows (m,) int64, ascending, and the rarest label of each, (m,) int64.

    The lowest id wins a tie.

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
    """Move the home of each class without anchors to the task with most of its images."""
    homes = stream.homes
    moved = np.flatnonzero(~stream.counts.any(axis=0) & positives.any(axis=0) & (homes >= 0))
    new = {
        int(c): int(positives[:, c].argmax())
        for c in moved
        if positives[homes[c], c] < positives[:, c].max()
    }
    if not new:
        return stream

    # Classes remain disjoint or blurry; only the task changes.
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

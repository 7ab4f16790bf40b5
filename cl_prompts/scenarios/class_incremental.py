"""Class-incremental streams with announced boundaries: multi-label (MLCIL) and single-label."""

import re
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.checks import whole_number
from cl_prompts.datasets.classes import check_labels, permutation, positive_matrix
from cl_prompts.errors import InputError, all_of
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry import rows_of
from cl_prompts.scenarios.split import Split

ClassOrder = Sequence[int] | int | Literal["shuffled"]


def mlcil_split(
    labels: ArrayLike, *, protocol: str, class_order: ClassOrder | None = None, seed: int = 1
) -> MultiLabelSplit:
    """Split multi-label images into tasks that annotate only their new classes (MLCIL).

    An image is in each task that has one of its classes, and shows only that task's labels there.
    Images without any label are in no task. The test set after task t
    has the images with a class of tasks 0 to t, so it grows with t (``test_indices``).

    Source: Dong et al. (KRT), ICCV 2023, arXiv 2302.13334, and the code of MULTI-LANE (De Min et
    al., CoLLAs 2024, arXiv 2405.15633). Rows of a task are ascending: training shuffles. Column =
    label id; nothing is relabelled. Boundaries are announced.

    Example:
        >>> from cl_prompts.scenarios import mlcil_split
        >>> labels = [[1, 1, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [1, 0, 1, 1]]
        >>> split = mlcil_split(labels, protocol="B2-C1")
        >>> split.visible[0].tolist(), split.parameters
        ([True, True, False, False], {'base': 2, 'increment': 1})
        >>> [rows.tolist() for rows in split]
        [[0, 2, 3], [1, 3], [2, 3]]

    Args:
        labels: 0/1 matrix (n, C) of the training images; each class must be positive in at least
            one.
        protocol: in the literature's notation, such as "B10-C2" for 10 classes in the first task
            and 2 in each later one; B0 gives the first as many as the others.
        class_order: order of the classes, a permutation of 0..C-1, its seed, or "shuffled", which
            uses ``seed``. None is the order of columns, as published (alphabetical in COCO and
            VOC).
        seed: only for ``class_order="shuffled"``; global random states are neither read nor
            changed.

    Raises:
        InputError: not a 0/1 matrix, a class without training images, an order that is not a
            permutation, or classes that the tasks cannot share.
    """
    matrix, n_classes = positive_matrix(labels, "labels")
    base, increment = _division(n_classes, protocol)
    order = permutation("class_order", f"the {n_classes} classes", n_classes, class_order, seed)
    # Classes of each task: the first ``base`` of the order, then ``increment`` at a time.
    groups = np.split(order, range(base, n_classes, increment))
    # An image is in each task of its labels, and shows only this task's labels.
    visible = [np.isin(range(n_classes), classes) for classes in groups]
    return MultiLabelSplit.of(
        "class-incremental",
        matrix,
        [np.flatnonzero(matrix[:, classes].any(axis=1)) for classes in groups],
        visible=visible,
        boundaries=True,
        parameters={"base": base, "increment": increment},
    )


def class_incremental_split(
    targets: ArrayLike, *, n_tasks: int = 10, class_order: ClassOrder | None = None, seed: int = 1
) -> Split:
    """Split labelled samples into tasks of equally many new classes (such as split CIFAR-100).

    As in ``disjoint_split`` each class is in one task, but boundaries are announced, and the
    learner may train on a task's samples in any order and for several epochs. Rows of a task are
    ascending: training shuffles.

    Example:
        >>> from cl_prompts.scenarios import class_incremental_split
        >>> split = class_incremental_split([3, 2, 1, 0] * 25, n_tasks=2)
        >>> split
        <class-incremental split: 2 tasks, 4 classes, 100 samples>
        >>> split.disjoint_classes, split[0][:4].tolist()
        (((0, 1), (2, 3)), [2, 3, 6, 7])

    Args:
        targets: integer label of each sample, (n,); each of 0..C-1 must occur.
        n_tasks: number of tasks; it must divide C.
        class_order: order of the classes, a permutation of 0..C-1, its seed, or "shuffled", which
            uses ``seed``. None is the order of labels.
        seed: only for ``class_order="shuffled"``; global random states are neither read nor
            changed.

    Raises:
        InputError: labels other than 0..C-1, an order that is not a permutation, or unequal tasks.
    """
    labels, n_classes = check_labels(targets, "targets")
    n_tasks = whole_number("n_tasks", n_tasks, 1, n_classes, "the number of classes")
    if n_classes % n_tasks:
        fit = all_of((n for n in range(1, n_classes + 1) if n_classes % n == 0), "or")
        raise InputError(
            f"{n_tasks} tasks cannot share {n_classes} classes equally: n_tasks can be {fit}"
        )
    # Tasks are equal parts of the class order; samples keep the order of the data set.
    order = permutation("class_order", f"the {n_classes} classes", n_classes, class_order, seed)
    groups = np.split(order, n_tasks)
    return Split.of(
        "class-incremental",
        labels,
        rows_of(labels, groups, n_classes),
        boundaries=True,
        disjoint_classes=tuple(tuple(classes.tolist()) for classes in groups),
    )


def _division(n_classes: int, protocol: str) -> tuple[int, int]:
    """Return the number of classes of the first task and of each later one."""
    match = re.fullmatch(r"B(\d+)-C([1-9]\d*)", protocol, re.IGNORECASE)
    if match is None:
        raise InputError(
            "protocol must read like 'B10-C2' (10 classes in the first task, 2 in each later"
            f" one; B0 gives the first as many as the others), not {protocol!r}"
        )
    base, increment = map(int, match.groups())
    rest = n_classes - base
    if rest < 0 or rest % increment:
        fit = all_of((n for n in range(1, rest + 1) if rest % n == 0), "or")
        raise InputError(
            f"{base} classes plus multiples of {increment} are not {n_classes} classes: with"
            f" base={base} the increment can be {fit}"
        )
    return base or increment, increment

"""Class-incremental streams with announced boundaries: multi-label (MLCIL) and single-label."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from cl_prompts.datasets.classes import choose_classes
from cl_prompts.datasets.labels import (
    check_label_matrix,
    check_labels,
    check_positives,
    count_classes,
    integer,
)
from cl_prompts.errors import InputError
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.si_blurry_sampler import rows_of
from cl_prompts.scenarios.split import BlurrySplit


def mlcil_split(
    labels: Any,
    *,
    base: int | None = None,
    increment: int | None = None,
    protocol: str | None = None,
    class_order: Sequence[int] | int | str | None = None,
    test_labels: Any = None,
    seed: int = 1,
) -> MultiLabelSplit:
    """Multi-label class-incremental learning: tasks of new classes, in which only these classes are
    annotated.

    An image is in every task one of whose classes it has, so an image with labels of several tasks
    comes in each of them, each time with that task's labels alone. Images without any label are in
    no task; ``describe()`` counts them. The test set after task t holds the images with a class of
    tasks 0 to t, so it grows with t (``test_indices``).

    Source: Dong et al. (KRT), ICCV 2023, arXiv 2302.13334, and the code of MULTI-LANE (De Min et
    al., CoLLAs 2024, arXiv 2405.15633). Rows of a task are ascending: training shuffles. Column =
    label id; nothing is relabelled.

    Args:
        labels: 0/1 matrix (n, C) of the training images; every class must be positive in one of
            them.
        base: classes of the first task; 0 means as many as in the others.
        increment: classes of each later task. ``base`` plus a multiple of it must be C.
        protocol: both in the literature's notation, "B10-C2" for ``base=10, increment=2``; in place
            of them.
        class_order: which class comes when, a permutation of 0..C-1; a whole number is the seed of
            one, "shuffled" takes ``seed`` for it. None is the order of columns, as published
            (alphabetical in COCO and VOC).
        test_labels: 0/1 matrix (n_test, C) of the test images; without it ``test_indices`` is
            refused.
        seed: used for ``class_order="shuffled"`` alone; global random states are neither read nor
            changed.

    Raises:
        InputError: a matrix that is not 2-D of zeros and ones, a class without training images,
            test labels of another width, an order that is not a permutation, or a division that
            does not come out even.
    """
    matrix = check_label_matrix(labels, "labels")
    check_positives(matrix, "labels")
    n_classes = matrix.shape[1]
    base, increment = _division(n_classes, base, increment, protocol)
    seed = integer("seed", seed, 0, 2**64 - 1)
    order = _class_order(n_classes, class_order, seed)
    groups = np.split(order, range(base, n_classes, increment))
    tasks = [np.flatnonzero(matrix[:, classes].any(axis=1)) for classes in groups]
    counts = np.zeros((len(groups), n_classes), dtype=np.int64)
    positives = matrix.sum(axis=0, dtype=np.int64)
    for task, classes in enumerate(groups):
        counts[task, classes] = positives[classes]
    split = MultiLabelSplit(
        tasks=tuple(tasks),
        counts=counts,
        n_samples=len(matrix),
        n_unlabelled=int(np.count_nonzero(~matrix.any(axis=1))),
        n_labels=int(positives.sum()),
    )
    return (
        split
        if test_labels is None
        else split.with_test_labels(check_label_matrix(test_labels, "test_labels"))
    )


def class_incremental_split(
    targets: Any,
    *,
    n_tasks: int = 10,
    class_order: Sequence[int] | int | str | None = None,
    seed: int = 1,
) -> BlurrySplit:
    """Single-label tasks of equally many new classes, whose boundaries are announced: split
    CIFAR-100 and the like.

    Like ``disjoint_split`` every class lives in one task, but the learner is told when a task
    begins (``boundaries``) and may pass over its samples in any order, several times. Rows of a
    task are ascending: training shuffles.

    Args:
        targets: integer label of each sample, (n,); every one of 0..C-1 must occur.
        n_tasks: number of tasks; it must divide C.
        class_order: which class comes when, a permutation of 0..C-1; a whole number is the seed of
            one, "shuffled" takes ``seed`` for it. None is the order of labels.
        seed: used for ``class_order="shuffled"`` alone; global random states are neither read nor
            changed.

    Raises:
        InputError: labels that are not exactly 0..C-1, an order that is not a permutation, or
            unequal tasks.
    """
    labels, n_classes = check_labels(targets, "targets")
    n_tasks = integer("n_tasks", n_tasks, 1, n_classes, " (the number of classes)")
    seed = integer("seed", seed, 0, 2**64 - 1)
    if n_classes % n_tasks:
        fit = _either([n for n in range(1, n_classes + 1) if n_classes % n == 0])
        raise InputError(
            f"{n_tasks} tasks cannot share {n_classes} classes equally: n_tasks can be {fit}"
        )
    groups = np.split(_class_order(n_classes, class_order, seed), n_tasks)
    tasks = rows_of(labels, groups, n_classes)
    return BlurrySplit(
        tasks=tuple(tasks),
        disjoint_classes=tuple(tuple(classes.tolist()) for classes in groups),
        blurry_classes=((),) * n_tasks,
        dropped_classes=(),
        counts=count_classes(labels, tasks, n_classes),
        n_samples=len(labels),
        disjoint_percent=100,
        blurry_percent=0,
        seed=seed,
        stochastic=False,
        leftover="keep",
        boundaries=True,
    )


def _division(
    n_classes: int, base: int | None, increment: int | None, protocol: str | None
) -> tuple[int, int]:
    """Classes of the first task and of the others."""
    if protocol is not None:
        if base is not None or increment is not None:
            raise InputError("give either protocol or base and increment, not both")
        match = (
            re.fullmatch(r"B(\d+)-C(\d+)", protocol, re.IGNORECASE)
            if isinstance(protocol, str)
            else None
        )
        if match is None:
            raise InputError(
                "protocol must read like 'B10-C2' (10 classes in the first task, 2 in each later"
                f" one; B0 gives the first as many as the others), not {protocol!r}"
            )
        base, increment = int(match[1]), int(match[2])
    if base is None or increment is None:
        raise InputError(
            "a class-incremental split needs base and increment, or a protocol such as 'B0-C4'"
        )
    base = integer("base", base, 0, n_classes, " (the number of classes)")
    increment = integer("increment", increment, 1, n_classes, " (the number of classes)")
    rest = n_classes - base
    if rest % increment:
        fit = _either([n for n in range(1, rest + 1) if rest % n == 0])
        raise InputError(
            f"{base} classes and then {increment} at a time never make {n_classes}: with"
            f" base={base} the increment can be {fit}"
        )
    return base or increment, increment


def _class_order(n_classes: int, order: Sequence[int] | int | str | None, seed: int) -> np.ndarray:
    if isinstance(order, str):
        if order != "shuffled":
            raise InputError(
                f"class_order must be 'shuffled', a seed or a list of all classes, not {order!r}"
            )
        order = seed
    return choose_classes(
        f"the {n_classes} classes", [str(c) for c in range(n_classes)], None, order
    )


def _either(numbers: list[int]) -> str:
    *others, last = map(str, numbers)
    return f"{', '.join(others)} or {last}" if others else last

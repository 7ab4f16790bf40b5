"""Streams that follow one another: a later one brings further images, and perhaps further
classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cl_prompts.datasets.classes import check_labels, count_classes
from cl_prompts.errors import InputError
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import BaseSplit, Split


def joined_split(
    first: BaseSplit, second: BaseSplit, targets: Any, columns: Sequence[int]
) -> BaseSplit:
    """The stream of one data set, and then that of another one.

    Args:
        first: of the first data set, whose classes keep their numbers.
        second: of the second one, by its own numbers of classes.
        targets: labels of both data sets, one behind the other, by the numbers of all classes.
        columns: number of each class of the second data set among all classes.

    Raises:
        InputError: one stream announces its tasks and the other does not, one of them alone is
            domain-incremental, a domain comes in both, or labels do not fit.

    Example:
        >>> one = Split.of("first", [0, 1], [[1, 0]])
        >>> two = Split.of("second", [0, 1, 0], [[0], [2, 1]])
        >>> both = joined_split(one, two, [0, 1, 2, 1, 2], columns=[2, 1])
        >>> [rows.tolist() for rows in both], both.counts.tolist()
        ([[1, 0], [2], [4, 3]], [[1, 1, 0], [0, 0, 1], [0, 1, 1]])
    """
    if isinstance(first, DomainSplit) != isinstance(second, DomainSplit):
        raise InputError(
            f"the {first.name} stream cannot be followed by a {second.name} stream: of the two one"
            " has domains and the other has not"
        )
    if first.boundaries != second.boundaries:
        raise InputError(
            f"the {first.name} stream {_announces(first)} the boundaries of its tasks, and the"
            f" {second.name} stream that follows {_announces(second)} them: choose a scenario that"
            " does as the first"
        )
    # Rows of the second data set follow those of the first.
    tasks = [*first.tasks, *(rows + first.n_samples for rows in second.tasks)]
    name = f"{first.name}, then {second.name}"
    if isinstance(first, DomainSplit) and isinstance(second, DomainSplit):
        again = [domain for domain in second.domains if domain in first.domains]
        if again:
            raise InputError(
                f"domain {again[0]!r} was learned before, and each comes once: give its folder, or"
                " its images in the table, the name of a new domain"
            )
        labels, n_classes = check_labels(targets, "targets")
        return DomainSplit(
            name=name,
            tasks=tuple(tasks),
            counts=count_classes(labels, tasks, n_classes),
            n_samples=len(labels),
            boundaries=first.boundaries,
            domains=first.domains + second.domains,
        )
    if not isinstance(first, MultiLabelSplit):
        return Split.of(name, targets, tasks, boundaries=first.boundaries)
    visible = np.zeros((len(tasks), np.shape(targets)[1]), dtype=bool)
    # Classes of the first data set keep their columns; ``columns`` says where those of the second
    # one stand, some of them among the first's.
    visible[: first.n_tasks, : first.n_classes] = first.visible
    visible[first.n_tasks :, list(columns)] = second.visible
    return MultiLabelSplit.of(name, targets, tasks, visible=visible, boundaries=first.boundaries)


def _announces(split: BaseSplit) -> str:
    return "announces" if split.boundaries else "does not announce"

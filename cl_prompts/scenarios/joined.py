"""Two streams in sequence, the second with new images and perhaps new classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cl_prompts.errors import InputError
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import BaseSplit, Split


def joined_split(
    first: BaseSplit, second: BaseSplit, targets: Any, columns: Sequence[int]
) -> BaseSplit:
    """Append the stream of one data set to that of another.

    Args:
        first: of the first data set, whose classes keep their labels.
        second: of the second data set, with its own labels.
        targets: labels of both data sets, concatenated, with the labels of all classes.
        columns: new label of each class of the second data set.

    Raises:
        InputError: only one stream announces its tasks or is domain-incremental, a domain is in
            both, or labels do not match.

    Example:
        >>> one = Split.of("first", [0, 1], [[1, 0]])
        >>> two = Split.of("second", [0, 1, 0], [[0], [2, 1]])
        >>> both = joined_split(one, two, [0, 1, 2, 1, 2], columns=[2, 1])
        >>> [rows.tolist() for rows in both], both.counts.tolist()
        ([[1, 0], [2], [4, 3]], [[1, 1, 0], [0, 0, 1], [0, 1, 1]])
    """
    if isinstance(first, DomainSplit) != isinstance(second, DomainSplit):
        raise InputError(
            f"a {second.name} stream cannot follow a {first.name} stream: only one has domains"
        )
    if first.boundaries != second.boundaries:
        raise InputError(
            f"the {first.name} stream {_announces(first)} task boundaries, and the following"
            f" {second.name} stream {_announces(second)} them: choose a scenario like the first"
        )
    # Rows of the second data set follow those of the first.
    tasks = [*first.tasks, *(rows + first.n_samples for rows in second.tasks)]
    name = f"{first.name}, then {second.name}"
    if isinstance(first, DomainSplit) and isinstance(second, DomainSplit):
        again = [domain for domain in second.domains if domain in first.domains]
        if again:
            raise InputError(
                f"domain {again[0]!r} was already learned: use another domain name for these images"
            )
        domains = first.domains + second.domains
        return DomainSplit.of(name, targets, tasks, boundaries=first.boundaries, domains=domains)
    if not isinstance(first, MultiLabelSplit):
        return Split.of(name, targets, tasks, boundaries=first.boundaries)
    visible = np.zeros((len(tasks), np.shape(targets)[1]), dtype=bool)
    # Classes of the first data set keep their columns.
    visible[: first.n_tasks, : first.n_classes] = first.visible
    visible[first.n_tasks :, list(columns)] = second.visible
    return MultiLabelSplit.of(name, targets, tasks, visible=visible, boundaries=first.boundaries)


def _announces(split: BaseSplit) -> str:
    return "announces" if split.boundaries else "does not announce"

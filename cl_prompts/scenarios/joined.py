"""Two streams in sequence, the second with new images and perhaps new classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from cl_prompts.checks import doubled
from cl_prompts.errors import InputError
from cl_prompts.scenarios.domain_incremental import DomainSplit
from cl_prompts.scenarios.multi_label_split import MultiLabelSplit
from cl_prompts.scenarios.split import BaseSplit


def joined_split(
    first: BaseSplit, second: BaseSplit, targets: ArrayLike, columns: Sequence[int]
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
        >>> from cl_prompts.scenarios import Split
        >>> one = Split.of("first", [0, 1], [[1, 0]])
        >>> two = Split.of("second", [0, 1, 0], [[0], [2, 1]])
        >>> both = joined_split(one, two, [0, 1, 2, 1, 2], columns=[2, 1])
        >>> [rows.tolist() for rows in both], both.counts.tolist()
        ([[1, 0], [2], [4, 3]], [[1, 1, 0], [0, 0, 1], [0, 1, 1]])
    """
    for what, one, other in (
        ("has domains", isinstance(first, DomainSplit), isinstance(second, DomainSplit)),
        ("announces task boundaries", first.boundaries, second.boundaries),
    ):
        if one != other:
            raise InputError(
                f"only one of the {first.name} stream and the following {second.name} stream"
                f" {what}: choose a scenario like the first"
            )
    # Rows of the second data set follow those of the first.
    tasks = [*first.tasks, *(rows + first.n_samples for rows in second.tasks)]
    fields: dict[str, Any] = {"boundaries": first.boundaries}
    if isinstance(first, DomainSplit) and isinstance(second, DomainSplit):
        again = doubled(first.domains + second.domains)
        if again:
            raise InputError(
                f"domain {again!r} was already learned: use another domain name for these images"
            )
        fields["domains"] = first.domains + second.domains
    if isinstance(first, MultiLabelSplit):
        visible = fields["visible"] = np.zeros((len(tasks), np.shape(targets)[1]), dtype=bool)
        # Classes of the first data set keep their columns.
        visible[: first.n_tasks, : first.n_classes] = first.visible
        visible[first.n_tasks :, list(columns)] = second.visible
    return type(first).of(f"{first.name}, then {second.name}", targets, tasks, **fields)

"""Choosing, ordering and checking the classes of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import torch

from cl_prompts.datasets.labels import check_label_matrix
from cl_prompts.errors import InputError, unknown


def choose_classes(
    what: str,
    names: Sequence[str],
    classes: int | Sequence[int | str] | None,
    order: Sequence[int] | int | None,
) -> np.ndarray:
    """Labels of the chosen classes, in their new order."""
    if isinstance(classes, str) or not (
        classes is None or isinstance(classes, Integral | Sequence | np.ndarray)
    ):
        raise InputError(
            f"classes of {what} must be a number or a list of labels and names, not {classes!r}"
        )
    picked = _pick(what, names, None if isinstance(classes, Integral) else classes)
    chosen = picked[_permutation(what, len(picked), order)]
    if not isinstance(classes, Integral):
        return chosen
    if isinstance(classes, bool) or not 1 <= classes <= len(names):
        raise InputError(
            f"classes of {what} must be a number from 1 to {len(names)}, or a list, not {classes}"
        )
    return chosen[: int(classes)]


def _pick(what: str, names: Sequence[str], classes: Sequence[int | str] | None) -> np.ndarray:
    if classes is None:
        return np.arange(len(names))
    picked: list[int] = []
    for wanted in classes:
        if isinstance(wanted, str):
            if wanted not in names:
                raise unknown(f"class of {what}", wanted, names)
            label = names.index(wanted)
        elif (
            isinstance(wanted, Integral)
            and not isinstance(wanted, bool)
            and 0 <= wanted < len(names)
        ):
            label = int(wanted)
        else:
            raise InputError(
                f"classes of {what} must be labels 0 to {len(names) - 1} or names, not {wanted!r}"
            )
        if label in picked:
            raise InputError(
                f"classes of {what} must differ: {names[label]!r} (label {label}) is there twice"
            )
        picked.append(label)
    if not picked:
        raise InputError(f"classes of {what} must not be an empty list")
    return np.array(picked)


def _permutation(what: str, n: int, order: Sequence[int] | int | None) -> np.ndarray:
    if order is None:
        return np.arange(n)
    if isinstance(order, Integral):
        whole_number("class_order", order, least=0)
        return torch.randperm(n, generator=torch.Generator().manual_seed(int(order))).numpy()
    rule = (
        f"class_order of {what} must be a seed (a whole number >= 0) or hold each of 0 to {n - 1}"
        " once"
    )
    if not isinstance(order, Sequence | np.ndarray) or not all(
        isinstance(position, Integral) for position in order
    ):
        raise InputError(f"{rule}, not {order!r}")
    positions = [int(position) for position in order]
    if sorted(positions) != list(range(n)):
        missing = sorted(set(range(n)) - set(positions))
        raise InputError(
            f"{rule}, but"
            f" {f'{missing[0]} is missing' if missing else f'it has {len(positions)} entries'}"
        )
    return np.array(positions, dtype=np.int64)


def whole_number(key: str, value: Any, *, least: int) -> None:
    if not isinstance(value, Integral) or isinstance(value, bool) or value < least:
        raise InputError(f"{key} must be a whole number, at least {least}, not {value!r}")


def labels_of(what: str, data: Any) -> np.ndarray:
    """``data.targets`` as (n,) int64, or as zeros and ones (n, C) uint8 where there is a row per
    image."""
    if not hasattr(data, "targets"):
        raise InputError(f"{what} are missing: the data set needs .targets, one integer per image")
    try:
        labels = np.asarray(data.targets)
    except ValueError as error:  # rows of unequal length
        raise InputError(
            f"{what} must be one integer per image, but .targets is no array of numbers"
        ) from error
    if labels.ndim == 2 and len(labels) == len(data):
        return check_label_matrix(labels, what)
    if (
        labels.ndim != 1
        or labels.dtype.kind not in "iu"
        or len(labels) != len(data)
        or not len(labels)
    ):
        raise InputError(
            f"{what} must be one integer per image of at least one image: there are {len(data)}"
            f" images, and .targets is {labels.dtype} of shape {labels.shape}"
        )
    return labels.astype(np.int64)


def ignored_of(what: str, data: Any, targets: np.ndarray) -> np.ndarray | None:
    """``data.ignored`` as (n, C) bool; None where the data set has none."""
    if getattr(data, "ignored", None) is None:
        return None
    ignored = np.asarray(data.ignored)
    if ignored.shape != targets.shape or ignored.dtype != np.bool_:
        raise InputError(
            f"{what} must be bool of the shape of .targets, {targets.shape}, not {ignored.dtype} of"
            f" {ignored.shape}"
        )
    return ignored


def relabel(
    targets: np.ndarray, chosen: np.ndarray, n_classes: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Keep the chosen classes; ``chosen[k]`` becomes label k.

    Returns:
        the rows kept, None for all, and their new labels. Single-label images of other classes are
        left out; images of a multi-label set stay, if need be with no label at all.
    """
    if targets.ndim == 2:
        return None, np.ascontiguousarray(targets[:, chosen])
    label = np.full(n_classes, -1, dtype=np.int64)
    label[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(label[targets] >= 0)
    return rows, label[targets[rows]]


def check_classes(
    what: str, train: np.ndarray, test: np.ndarray, names: Sequence[str] | None
) -> int:
    """The number of classes, after making sure that labels are 0..C-1 and each has training and
    test images."""
    if train.ndim != test.ndim:
        kinds = [
            "one row of zeros and ones" if part.ndim == 2 else "one integer"
            for part in (train, test)
        ]
        raise InputError(f"{what} has {kinds[0]} per training image, but {kinds[1]} per test image")
    parts = (("training", _present(train)), ("test", _present(test)))
    n = _count(what, train, test, names)
    for part, found in parts:
        if found.size and (found[0] < 0 or found[-1] >= n):
            shown = ", ".join(map(str, found[:10])) + (
                f", ... ({len(found)} in all)" if len(found) > 10 else ""
            )
            raise InputError(
                f"labels of {what} must be 0 to {n - 1} ({n} classes), but the {part} labels are"
                f" {shown}"
            )
    for part, found in parts:
        if len(found) < n:
            first = int(np.setdiff1d(np.arange(n), found)[0])
            name = str(first) if names is None else names[first]
            raise InputError(f"class {name!r} (label {first}) of {what} has no {part} images")
    return n


def _present(targets: np.ndarray) -> np.ndarray:
    """Labels that occur, ascending."""
    return np.flatnonzero(targets.any(axis=0)) if targets.ndim == 2 else np.unique(targets)


def _count(what: str, train: np.ndarray, test: np.ndarray, names: Sequence[str] | None) -> int:
    """The number of classes that there should be."""
    if train.ndim == 1:
        return len(np.unique(train)) if names is None else len(names)
    n = train.shape[1] if names is None else len(names)
    for part, targets in (("training", train), ("test", test)):
        if targets.shape[1] != n:
            raise InputError(
                f"{what} has {n} classes, but its {part} labels have {targets.shape[1]} columns"
            )
    return n

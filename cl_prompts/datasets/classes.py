"""Labels and classes: check, count, choose and order them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from cl_prompts.checks import doubled, one_of, shown, whole_number
from cl_prompts.errors import InputError


def choose_classes(
    what: str,
    names: Sequence[str],
    classes: int | Sequence[int | str] | None,
    order: Sequence[int] | int | None,
) -> np.ndarray:
    """Labels of the chosen classes, in their new order.

    >>> choose_classes("data set 'pets'", ["ant", "bee", "cat"], ["cat", 0], None).tolist()
    [2, 0]

    Args:
        what: the data set, for error messages.
        names: of all C classes.
        classes: a list picks by label or name, in that order; a number keeps the first so many,
            counted after ``order``; None keeps all.
        order: permutation of the positions of the classes picked, or the seed of one; None leaves
            them as they are.

    Raises:
        InputError: an unknown or repeated class, or no permutation.
    """
    if isinstance(classes, str | float):
        raise InputError(
            f"classes of {what} must be a number or a list of labels and names, not {classes!r}"
        )
    if isinstance(classes, int | np.integer):
        n = whole_number(f"classes of {what}", classes, 1, len(names))
        return permutation("class_order", what, len(names), order)[:n]
    picked = np.arange(len(names)) if classes is None else _picked(what, names, classes)
    return picked[permutation("class_order", what, len(picked), order)]


def _picked(what: str, names: Sequence[str], classes: Sequence[int | str]) -> np.ndarray:
    picked: list[int] = []
    for wanted in classes:
        label = _label(what, names, wanted)
        if label in picked:
            raise InputError(
                f"classes of {what} must differ: {names[label]!r} (label {label}) is there twice"
            )
        picked.append(label)
    return np.array(picked)


def _label(what: str, names: Sequence[str], wanted: int | str) -> int:
    """Label of a class given by label or name.

    Raises:
        InputError: no such class, or a label that reads as the name of a class with another one.
    """
    if isinstance(wanted, str):
        one_of(f"class of {what}", wanted, names)
        return names.index(wanted)
    named = str(wanted)
    # Folders may be called 0, 1, 10, 11, 2 ...: sorted as names, so that label 2 is not class "2".
    if named in names and names.index(named) != wanted:
        raise InputError(
            f"classes of {what}: {named} may mean the class called {named!r} or label {named},"
            f" which differ: write names in quotes, as classes='[\"{named}\"]'"
        )
    if isinstance(wanted, Integral) and not isinstance(wanted, bool) and 0 <= wanted < len(names):
        return int(wanted)
    raise InputError(
        f"classes of {what} must be labels 0 to {len(names) - 1} or names, not {wanted!r}"
    )


def permutation(name: str, what: str, n: int, order: Sequence[int] | int | None) -> np.ndarray:
    """0 to n - 1 in the order that a setting asks for.

    >>> permutation("domain_order", "3 domains", 3, [2, 0, 1]).tolist()
    [2, 0, 1]

    Args:
        name: of the setting.
        what: is put in order, for error messages.
        n: how many there are.
        order: all positions, or the seed of a permutation; None leaves them as they are.

    Raises:
        InputError: no permutation, and no seed.
    """
    if order is None:
        return np.arange(n)
    if isinstance(order, Integral):
        import torch  # here, since listing scenarios takes no torch

        seed = whole_number(name, order, 0, 2**64 - 1)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    rule = (
        f"{name} of {what} must be a seed (a whole number >= 0) or hold each of 0 to {n - 1} once"
    )
    positions = np.asarray(order)
    if positions.dtype.kind not in "iu" or not np.array_equal(np.sort(positions), np.arange(n)):
        raise InputError(f"{rule}, not {shown(order)}")
    return positions.astype(np.int64)


def labels_of(what: str, data: Any) -> np.ndarray:
    """Labels of a map-style data set, read from ``.targets``: (n,) int64, or zeros and ones (n, C)
    uint8 where there is a row per image.

    Raises:
        InputError: no ``.targets``, no integers, or not one label per image.
    """
    if not hasattr(data, "targets"):
        raise InputError(f"{what} are missing: the data set needs .targets, one integer per image")
    labels = np.asarray(data.targets)
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
    """Pairs that average precision leaves out, read from ``data.ignored``: (n, C) bool, or None.

    Raises:
        InputError: one label per image, another type than bool, or another shape than that of the
            labels.
    """
    if getattr(data, "ignored", None) is None:
        return None
    ignored = np.asarray(data.ignored)
    if targets.ndim == 1:
        raise InputError(f"{what} are for rows of zeros and ones in .targets: leave them out")
    if ignored.shape != targets.shape or ignored.dtype != np.bool_:
        raise InputError(
            f"{what} must be bool of the shape of .targets, {targets.shape}, not {ignored.dtype} of"
            f" {ignored.shape}"
        )
    return ignored


def domains_of(what: str, data: Any) -> np.ndarray | None:
    """The domain of each image of a map-style data set, read from ``data.domains``: (n,) names or
    whole numbers, or None.

    Raises:
        InputError: something else, or not one for each image.
    """
    domains = getattr(data, "domains", None)
    return None if domains is None else check_domains(what, domains, len(data))


def check_domains(what: str, domains: Any, n: int) -> np.ndarray:
    """Domains as an array (n,) of names or whole numbers.

    Raises:
        InputError: something else, or not one for each of n images.
    """
    rule = f"{what} must be one name or whole number for each of {n} images"
    array = np.asarray(domains)
    if array.ndim != 1 or array.dtype.kind not in "iuU" or len(array) != n:
        raise InputError(f"{rule}, not {array.dtype} of shape {array.shape}")
    return array


def domain_names(domains: np.ndarray | None) -> tuple[str, ...]:
    """Names of the domains that occur, sorted by name or number; empty for None.

    >>> domain_names(np.array([10, 2, 2])), domain_names(np.array(["sketch", "real"]))
    (('2', '10'), ('real', 'sketch'))
    """
    return () if domains is None else tuple(map(str, np.unique(domains).tolist()))


def relabel(
    targets: np.ndarray, chosen: np.ndarray, n_classes: int
) -> tuple[np.ndarray | None, np.ndarray]:
    """Labels after the choice of classes, where ``chosen[k]`` becomes label k.

    Single-label images of other classes are left out; images of a multi-label set stay, if need be
    with no label at all.

    >>> relabel(np.array([0, 1, 2, 0]), np.array([2, 0]), 3)
    (array([0, 2, 3]), array([1, 0, 1]))

    Returns:
        the rows kept, (m,) int64 or None for all, and their new labels, (m,) or (n, k).
    """
    if targets.ndim == 2:
        return None, np.ascontiguousarray(targets[:, chosen])
    # The new label of each old one; -1 is left out.
    label = np.full(n_classes, -1, dtype=np.int64)
    label[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(label[targets] >= 0)
    return rows, label[targets[rows]]


def check_classes(
    what: str, train: np.ndarray, test: np.ndarray, names: Sequence[str] | None
) -> int:
    """The number of classes C, once labels (n,) or (n, C) are found to be 0..C-1, each in both
    parts.

    Raises:
        InputError: labels out of range, two classes of one name, a class without training or test
            images, or one part with several labels per image and the other without.
    """
    check_names(what, names or ())
    if train.ndim != test.ndim:
        kinds = ("one integer", "one row of zeros and ones")
        raise InputError(
            f"{what} has {kinds[train.ndim - 1]} per training image, but {kinds[test.ndim - 1]} per"
            " test image"
        )
    n = len(np.unique(train)) if train.ndim == 1 else train.shape[1]
    n = n if names is None else len(names)
    for part, targets in (("training", train), ("test", test)):
        if targets.ndim == 2 and targets.shape[1] != n:
            raise InputError(
                f"{what} has {n} classes, but its {part} labels have {targets.shape[1]} columns"
            )
    parts = (("training", _present(train)), ("test", _present(test)))
    for part, found in parts:
        if found.size and (found[0] < 0 or found[-1] >= n):
            more = f", ... ({len(found)} in all)" if len(found) > 10 else ""
            shown = ", ".join(map(str, found[:10])) + more
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


def check_names(what: str, names: Sequence[str], kind: str = "class") -> None:
    """Refuse names of classes, or of domains, that are blank, or that two share but for what
    :func:`alike` says.

    Raises:
        InputError: the first such name.
    """
    for name in names:
        if not name.strip():
            raise InputError(f"{kind} {name!r} of {what} has a blank name: give it another one")
    double = doubled(names)
    if double is not None:
        raise InputError(f"two classes of {what} are called {double!r}: give each its own name")
    pair = alike(names)
    if pair is not None:
        raise InputError(
            f"names {pair[0]!r} and {pair[1]!r} of {what} differ in case, blanks or the encoding of"
            f" accents alone: if they mean one {kind}, put its images under one name; if not,"
            " rename one"
        )


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """The first two names that differ in case, blanks around them or the Unicode form alone.

    >>> alike(["cat", "dog", "Cat "]), alike(["cat", "cats"])
    (('cat', 'Cat '), None)
    """
    met: dict[str, str] = {}
    for name in names:
        first = met.setdefault(unicodedata.normalize("NFC", name.casefold()).strip(), name)
        if first != name:
            return first, name
    return None


def _present(targets: np.ndarray) -> np.ndarray:
    """Labels that occur, in ascending order."""
    return np.flatnonzero(targets.any(axis=0)) if targets.ndim == 2 else np.unique(targets)


def check_labels(targets: Any, name: str) -> tuple[np.ndarray, int]:
    """Labels as an int64 array (n,), and the number of classes C.

    >>> check_labels([0, 2, 1], "targets")
    (array([0, 2, 1]), 3)

    Raises:
        InputError: not a 1-D sequence of integers, empty, or not exactly the labels 0..C-1.
    """
    labels = np.asarray(targets)
    if labels.size == 0:
        raise InputError(f"{name} is empty: there must be one label per sample")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InputError(
            f"{name} must be a 1-D sequence of integer labels, not {labels.ndim}-D of type"
            f" {labels.dtype}"
        )
    labels = labels.astype(np.int64, copy=False)
    lowest = int(labels.min())
    highest = int(labels.max())
    if lowest < 0:
        raise InputError(
            f"label {lowest} in {name} is out of range: labels must be 0 to C-1 for C classes"
        )
    # Labels beyond the number of samples certainly leave gaps, and may be too large to count.
    if highest >= len(labels) or not np.bincount(labels).all():
        present = np.unique(labels)
        missing = int(np.flatnonzero(present != np.arange(len(present)))[0])
        raise InputError(
            f"label {missing} is missing in {name}, which goes up to {highest}: all labels from 0"
            " to C-1 must occur"
        )
    return labels, highest + 1


def check_label_matrix(labels: Any, name: str) -> np.ndarray:
    """A label matrix of any numeric type or bool as uint8 zeros and ones (n, C).

    Raises:
        InputError: not 2-D, empty, or an entry other than 0 and 1.
    """
    rule = f"{name} must be a 0/1 matrix (images, classes)"
    matrix = np.asarray(labels)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf" or not matrix.size:
        raise InputError(f"{rule}, not {matrix.dtype} of shape {matrix.shape}")
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(f"{rule}, but row {row} holds {matrix[row, column]} in column {column}")
    return matrix.astype(np.uint8, copy=False)


def check_positives(matrix: np.ndarray, name: str) -> None:
    """Refuse a label matrix (n, C) with a class that is positive nowhere.

    Raises:
        InputError: a matrix without any label, or with a class that no image has.
    """
    never = np.flatnonzero(~matrix.any(axis=0))
    if len(never):
        raise InputError(
            f"class {never[0]} is never positive in {name} ({len(never)} such classes): every"
            " column needs at least one training image"
        )


def count_classes(labels: np.ndarray, tasks: Sequence[np.ndarray], n_classes: int) -> np.ndarray:
    """Samples of each class in each task, (n_tasks, n_classes) int64, of labels (n,)."""
    small = labels.astype(np.min_scalar_type(n_classes))  # fits the cache, in which it is looked up
    return np.stack([np.bincount(small[rows], minlength=n_classes) for rows in tasks])


def count_positives(matrix: np.ndarray, tasks: Sequence[np.ndarray]) -> np.ndarray:
    """Images that show each class in each task, (n_tasks, C) int64, of a 0/1 matrix (n, C)."""
    return np.stack([matrix[rows].sum(axis=0, dtype=np.int64) for rows in tasks])

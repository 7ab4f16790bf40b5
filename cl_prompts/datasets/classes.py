"""Labels and classes: check, count, choose and order them."""

import unicodedata
from collections.abc import Sequence
from numbers import Integral
from typing import Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike

from cl_prompts.checks import doubled, one_of, shown, whole_number
from cl_prompts.errors import InputError, first_of


class Items(Protocol):
    """A map-style data set.

    >>> images: Items = ["image 0", "image 1"]
    """

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> object: ...


def choose_classes(
    what: str, names: Sequence[str], classes: int | Sequence[int | str] | None
) -> np.ndarray:
    """Return the labels of the chosen classes, in their order.

    >>> choose_classes("data set 'pets'", ["ant", "bee", "cat"], ["cat", 0]).tolist()
    [2, 0]

    Args:
        what: the data set, for error messages.
        names: of all C classes.
        classes: list of labels or names; or the number of classes to keep, the first ones; None
            keeps all.

    Raises:
        InputError: an unknown or repeated class.
    """
    if classes is None:
        return np.arange(len(names))
    if isinstance(classes, int | np.integer):
        return np.arange(whole_number(f"classes of {what}", classes, 1, len(names)))
    picked = [_label(what, names, wanted) for wanted in classes]
    twice = doubled(picked)
    if twice is not None:
        raise InputError(
            f"classes of {what} lists {names[twice]!r} (label {twice}) twice: list each once"
        )
    return np.array(picked)


def _label(what: str, names: Sequence[str], wanted: int | str) -> int:
    """Return the label of a class given by label or name.

    Raises:
        InputError: an unknown class, or a label that is also the name of another class.
    """
    if isinstance(wanted, str):
        one_of(f"class of {what}", wanted, names)
        return names.index(wanted)
    named = str(wanted)
    # Folders 0, 1, 10, 11, 2 ... are sorted as names, so that label 2 is not class "2".
    if named in names and names.index(named) != wanted:
        raise InputError(
            f"classes of {what}: {named} is both a label and the name of another class. Write names"
            f" in quotes, as classes='[\"{named}\"]'"
        )
    if isinstance(wanted, Integral) and not isinstance(wanted, bool) and 0 <= wanted < len(names):
        return int(wanted)
    raise InputError(
        f"classes of {what} must be labels 0 to {len(names) - 1} or names, not {wanted!r}"
    )


def permutation(
    name: str, what: str, n: int, order: Sequence[int] | int | str | None, seed: int | None = None
) -> np.ndarray:
    """Return 0 to n - 1 in the order of a setting.

    >>> permutation("domain_order", "3 domains", 3, [2, 0, 1]).tolist()
    [2, 0, 1]

    Args:
        name: of the setting.
        what: the things to order, for error messages.
        n: number of things.
        order: all positions, or the seed of a permutation; None for ascending order. "shuffled"
            uses ``seed``.
        seed: see ``order``; None where "shuffled" is not allowed.

    Raises:
        InputError: neither a permutation nor a seed.
    """
    if seed is not None:
        seed = whole_number("seed", seed, 0, 2**64 - 1)
        if isinstance(order, str) and order != "shuffled":
            raise InputError(f"{name} must be 'shuffled', a seed or a list of all, not {order!r}")
        order = seed if isinstance(order, str) else order
    if order is None:
        return np.arange(n)
    if isinstance(order, Integral):
        seed = whole_number(name, order, 0, 2**64 - 1)
        return torch.randperm(n, generator=torch.Generator().manual_seed(seed)).numpy()
    rule = (
        f"{name} of {what} must be a seed (a whole number >= 0) or hold each of 0 to {n - 1} once"
    )
    positions = np.asarray(order)
    if positions.dtype.kind not in "iu" or not np.array_equal(np.sort(positions), np.arange(n)):
        raise InputError(f"{rule}, not {shown(order)}")
    return positions.astype(np.int64)


def labels_of(what: str, data: Items) -> np.ndarray:
    """Read the labels of a map-style data set from ``.targets``.

    Returns:
        (n,) int64, or for a multi-label data set zeros and ones (n, C) uint8.

    Raises:
        InputError: no ``.targets``, no integers, or not one label per image.
    """
    labels = np.asarray(getattr(data, "targets", None))
    if labels.ndim == 2 and len(labels) == len(data):
        return check_label_matrix(labels, what)[0]
    integers = labels.ndim == 1 and labels.dtype.kind in "iu"
    if not integers or len(labels) != len(data) or not len(labels):
        raise InputError(
            f"{what} must be one integer per image in .targets, not {labels.dtype} of shape"
            f" {labels.shape} for {len(data)} images"
        )
    return labels.astype(np.int64)


def ignored_of(data: Items) -> np.ndarray | None:
    """Read the pairs that average precision ignores from ``data.ignored``: (n, C) bool, or None."""
    ignored = getattr(data, "ignored", None)
    return None if ignored is None else np.asarray(ignored, dtype=bool)


def domains_of(what: str, data: Items) -> np.ndarray | None:
    """Read the domain of each image from ``data.domains``: (n,) names or integers, or None.

    Raises:
        InputError: other values, or not one for each image.
    """
    domains = getattr(data, "domains", None)
    return None if domains is None else check_domains(what, domains, len(data))


def check_domains(what: str, domains: ArrayLike, n: int) -> np.ndarray:
    """Return domains as an array (n,) of names or integers.

    Raises:
        InputError: other values, or not one for each of n images.
    """
    array = np.asarray(domains)
    if array.ndim != 1 or array.dtype.kind not in "iuU" or len(array) != n:
        raise InputError(
            f"{what} must be one name or whole number for each of {n} images, not {array.dtype} of"
            f" shape {array.shape}"
        )
    return array


def domain_names(domains: np.ndarray | None) -> tuple[str, ...]:
    """Return the names of the domains that occur, sorted; empty for None.

    >>> domain_names(np.array([10, 2, 2])), domain_names(np.array(["sketch", "real"]))
    (('2', '10'), ('real', 'sketch'))
    """
    return () if domains is None else tuple(map(str, np.unique(domains).tolist()))


def relabel(
    targets: np.ndarray, chosen: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the labels after the choice of classes, where ``chosen[k]`` becomes label k.

    Single-label images of other classes are dropped. Multi-label images remain, some perhaps
    without a label.

    >>> relabel(np.array([0, 1, 2, 0]), np.array([2, 0]), 3)
    (array([0, 2, 3]), array([1, 0, 1]))

    Returns:
        the rows kept, (m,) int64, and their new labels, (m,) or (n, k).
    """
    if targets.ndim == 2:
        return np.arange(len(targets)), np.ascontiguousarray(targets[:, chosen])
    # New label of each old one; -1 for dropped classes.
    label = np.full(n_classes, -1, dtype=np.int64)
    label[chosen] = np.arange(len(chosen))
    rows = np.flatnonzero(label[targets] >= 0)
    return rows, label[targets[rows]]


def labels_in(targets: np.ndarray) -> np.ndarray:
    """Return the labels that occur in (n,) labels or in (n, C) zeros and ones, sorted."""
    return np.unique(targets if targets.ndim == 1 else np.nonzero(targets)[1])


def check_classes(
    what: str, train: np.ndarray, test: np.ndarray, names: Sequence[str], known: Sequence[str] = ()
) -> None:
    """Check the labels (n,) or (n, C) of a data set, whose ``known`` classes may lack images.

    Raises:
        InputError: labels other than 0..C-1, two classes of one name, a class without training or
            test images, or single-label and multi-label parts.
    """
    check_names(what, names)
    if train.ndim != test.ndim:
        kinds = ("one integer", "one row of zeros and ones")
        raise InputError(
            f"{what} has {kinds[train.ndim - 1]} per training image, but {kinds[test.ndim - 1]} per"
            " test image"
        )
    n = len(names)
    for part, targets in (("training", train), ("test", test)):
        found = labels_in(targets)
        if found.size and (found[0] < 0 or found[-1] >= n):
            raise InputError(
                f"labels of {what} must be 0 to {n - 1} ({n} classes), but the {part} labels are"
                f" {first_of(found, 10)}"
            )
        lacking = [label for label in np.setdiff1d(range(n), found) if names[label] not in known]
        if lacking:
            name = names[lacking[0]]
            raise InputError(f"class {name!r} (label {lacking[0]}) of {what} has no {part} images")


def check_names(what: str, names: Sequence[str], kind: str = "class") -> None:
    """Refuse names that are blank, equal, or differ only in case, outer blanks or Unicode form.

    Raises:
        InputError: names the first of them.
    """
    for name in names:
        if not name.strip():
            raise InputError(f"{kind} {name!r} of {what} has a blank name: rename it")
    double = doubled(names)
    if double is not None:
        raise InputError(f"two classes of {what} are called {double!r}: rename one")
    met: dict[str, str] = {}
    for name in names:
        first = met.setdefault(unicodedata.normalize("NFC", name.casefold()).strip(), name)
        if first != name:
            raise InputError(
                f"names {first!r} and {name!r} of {what} differ only in case, blanks or the"
                f" encoding of accents. Merge them if they are one {kind}; otherwise rename one"
            )


def check_labels(targets: ArrayLike, name: str) -> tuple[np.ndarray, int]:
    """Return labels as an int64 array (n,), and the number of classes C.

    >>> check_labels([0, 2, 1], "targets")
    (array([0, 2, 1]), 3)

    Raises:
        InputError: not a 1-D sequence of integers, empty, or labels other than 0..C-1.
    """
    labels = np.asarray(targets)
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not labels.size:
        raise InputError(
            f"{name} must be one integer per sample, not {labels.dtype} of shape {labels.shape}"
        )
    present = np.unique(labels)
    if not np.array_equal(present, np.arange(len(present))):
        raise InputError(
            f"{name} must have each label from 0 to C-1 for C classes, not {first_of(present, 10)}"
        )
    return labels.astype(np.int64, copy=False), len(present)


def check_label_matrix(labels: ArrayLike, name: str) -> tuple[np.ndarray, int]:
    """Return a label matrix of any numeric type as uint8 zeros and ones (n, C), and C.

    Raises:
        InputError: not 2-D, empty, or entries other than 0 and 1.
    """
    rule = f"{name} must be a 0/1 matrix (images, classes)"
    matrix = np.asarray(labels)
    if matrix.ndim != 2 or matrix.dtype.kind not in "biuf" or not matrix.size:
        raise InputError(f"{rule}, not {matrix.dtype} of shape {matrix.shape}")
    wrong = (matrix != 0) & (matrix != 1)
    if wrong.any():
        row, column = np.argwhere(wrong)[0].tolist()
        raise InputError(f"{rule}, but row {row} holds {matrix[row, column]} in column {column}")
    return matrix.astype(np.uint8, copy=False), matrix.shape[1]


def positive_matrix(labels: ArrayLike, name: str) -> tuple[np.ndarray, int]:
    """Return a label matrix as :func:`check_label_matrix` does, in which each class is positive.

    Raises:
        InputError: names the first class that no image has.
    """
    matrix, n_classes = check_label_matrix(labels, name)
    never = np.flatnonzero(~matrix.any(axis=0))
    if len(never):
        raise InputError(
            f"class {never[0]} is never positive in {name} ({len(never)} such classes): add a"
            " training image, or remove the column"
        )
    return matrix, n_classes


def count_labels(labels: np.ndarray, tasks: Sequence[np.ndarray], n_classes: int) -> np.ndarray:
    """Count labels (n,) or positives (n, C) by task and class, (n_tasks, n_classes) int64."""
    if labels.ndim == 2:
        return np.stack([labels[rows].sum(axis=0, dtype=np.int64) for rows in tasks])
    small = labels.astype(np.min_scalar_type(n_classes))  # a smaller array is indexed faster
    return np.stack([np.bincount(small[rows], minlength=n_classes) for rows in tasks])


def label_matrix(labels: Sequence[Sequence[object]], classes: Sequence[object]) -> np.ndarray:
    """Return zeros and ones (images, classes) uint8 for the labels of each image."""
    column = {name: position for position, name in enumerate(classes)}
    matrix = np.zeros((len(labels), len(classes)), dtype=np.uint8)
    for row, names in enumerate(labels):
        matrix[row, [column[name] for name in names]] = 1
    return matrix

"""All images of a data set before the choice of classes; random training and test splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from cl_prompts.checks import whole_number
from cl_prompts.datasets.classes import check_names, domain_names
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.files import LayoutError
from cl_prompts.errors import InputError


@dataclass(frozen=True)
class Source:
    """All images of a data set with labels and class names, before the choice of classes.

    >>> from cl_prompts.datasets.decoding import FileImages
    >>> pets = ImageSet(FileImages(["a.png", "b.png"]), np.array([0, 1]))
    >>> Source([pets, pets], ("cat", "dog")).classes
    ('cat', 'dog')

    Args:
        parts: training and test images, without transforms.
        classes: names of the C classes.
        groups: group of each class, such as its superclass; empty without groups.

    Raises:
        InputError: blank or nearly equal names of classes or domains.
    """

    parts: Sequence[ImageSet]
    classes: tuple[str, ...]
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_names("this data set", self.classes)
        for part in self.parts:
            check_names("this data set", domain_names(part.domains), "domain")


def source_of(
    parts: Sequence[ImageSet],
    classes: tuple[str, ...],
    test_percent: float | None,
    seed: int,
    groups: Sequence[tuple[str, str]] = (),
) -> Source:
    """Return all images of a data set; those of a single part are split at random.

    They are split within each class, or each class of each domain; see :func:`split_rows`.
    ``groups`` are pairs of a class and its group, each perhaps repeated.

    Raises:
        LayoutError: a class in two groups.
    """
    group = dict(groups)
    for name, own in groups:
        if group[name] != own:
            raise LayoutError(f"class {name!r} is in the groups {own!r} and {group[name]!r}")
    if len(parts) == 1:
        (part,) = parts
        parts = part.divided(split_rows(*_cells(part, classes), test_percent, seed))
    return Source(parts, classes, tuple(group[name] for name in classes) if group else ())


def _cells(part: ImageSet, classes: Sequence[str]) -> tuple[np.ndarray, Sequence[str]]:
    """Return the number of the class, or of domain and class, of each image, and their names."""
    if part.domains is None:
        return part.targets, classes
    named = [classes[label] for label in part.targets.tolist()]
    pairs = list(zip(part.domains.tolist(), named, strict=True))
    # Pairs, since paths may be ambiguous ("c" + "a/b", "c/a" + "b"). Their order determines the
    # test images.
    cells = sorted(set(pairs), key=lambda pair: ("/".join(pair), pair))
    number = {pair: position for position, pair in enumerate(cells)}
    return np.array([number[pair] for pair in pairs]), ["/".join(pair) for pair in cells]


def numbered(
    parts: Iterable[ImageSet], classes: Sequence[str] = ()
) -> tuple[list[ImageSet], tuple[str, ...]]:
    """Turn names of classes into labels.

    Args:
        parts: images labelled by the names of their classes.
        classes: class names by label; by default all that occur, sorted.

    Returns:
        the parts, and the class names by label.
    """
    parts = list(parts)
    names = [part.targets.tolist() for part in parts]
    known = tuple(classes or sorted(set().union(*names)))
    label = {name: position for position, name in enumerate(known)}
    numbers = [np.array([label[name] for name in own]) for own in names]
    return [replace(p, targets=own) for p, own in zip(parts, numbers, strict=True)], known


def split_rows(
    targets: np.ndarray, classes: Sequence[str], test_percent: float | None, seed: int
) -> np.ndarray:
    """Choose test rows at random, and return their mask, (n,) bool.

    With one label per image, ``test_percent`` of each class are test images, rounded, at least one
    and never all. Multi-label images are split as a whole; then each class that one part lacks gets
    an image from the other part.

    Raises:
        InputError: a bad percentage or seed, or a class with a single image.
    """
    if test_percent is None or not 0 < test_percent < 100:
        raise InputError(f"test_percent is {test_percent}: it must lie between 0 and 100")
    whole_number("split_seed", seed, 0)
    rng = np.random.default_rng(seed)
    several = targets.ndim == 2
    counts = targets.sum(axis=0) if several else np.bincount(targets, minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < 2:
            raise InputError(
                f"class {name!r} has {count} image: it needs two, to train and to test"
            )
    chosen = np.zeros(len(targets), dtype=bool)
    # At least one image in each part.
    if several:
        n_test = min(max(1, round(len(targets) * test_percent / 100)), len(targets) - 1)
        chosen[rng.permutation(len(targets))[:n_test]] = True
        _complete(targets.astype(bool), chosen)
    else:
        for label, count in enumerate(counts.tolist()):
            n_test = min(max(1, round(count * test_percent / 100)), count - 1)
            chosen[rng.permutation(np.flatnonzero(targets == label))[:n_test]] = True
    return chosen


def _complete(targets: np.ndarray, chosen: np.ndarray) -> None:
    """Move images until both parts have every class, as far as labels allow."""
    n_classes = targets.shape[1]
    # A moved image may be the last one of another class, so repeat for all classes.
    for _, side, label in product(range(n_classes), (True, False), range(n_classes)):
        if targets[chosen == side, label].any():
            continue
        rows = np.flatnonzero(targets[:, label])
        # Choose the image that is the last one of the fewest other classes.
        last = targets[chosen != side].sum(axis=0) == 1
        chosen[rows[(targets[rows] & last).sum(axis=1).argmin()]] = side

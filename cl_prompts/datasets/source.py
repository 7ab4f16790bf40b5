"""All images of a data set before the choice of classes; random training and test splits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
import torch
from torch import Tensor

from cl_prompts.checks import whole_number
from cl_prompts.datasets.classes import check_names, domain_names
from cl_prompts.datasets.decoding import Images
from cl_prompts.datasets.files import ImageFile
from cl_prompts.errors import InputError


@dataclass(frozen=True)
class Part:
    """Training or test images with their labels.

    >>> Part(["a.png", "b.png"], np.array([0, 1])).at(np.array([1])).images
    ['b.png']

    Args:
        images: the n files, or images in tables or in memory.
        labels: labels 0..C-1, (n,) int64, or zeros and ones (n, C) uint8 of multi-label images.
        domains: name of each image's domain, (n,), or None.
        ignored: see :class:`~cl_prompts.datasets.dataset.ImageSet`.
    """

    images: Sequence[ImageFile] | Images
    labels: np.ndarray
    domains: np.ndarray | None = None
    ignored: np.ndarray | None = None

    @property
    def files(self) -> list[ImageFile]:
        """Files of the images, or images in tables; empty for images in memory."""
        return list(self.images) if isinstance(self.images, Sequence) else []

    def at(self, rows: np.ndarray) -> Part:
        """Return these rows of files, or of a tensor of images."""
        images, files = self.images, self.files
        chosen = torch.from_numpy(rows)
        return replace(
            self,
            images=images[chosen] if isinstance(images, Tensor) else [files[row] for row in rows],
            labels=self.labels[rows],
            domains=None if self.domains is None else self.domains[rows],
            ignored=None if self.ignored is None else self.ignored[rows],
        )

    def divided(self, in_test: np.ndarray) -> tuple[Part, Part]:
        """Divide the images by a mask, (n,) bool."""
        return self.at(np.flatnonzero(~in_test)), self.at(np.flatnonzero(in_test))

    def split(self, classes: Sequence[str], test_percent: float, seed: int) -> tuple[Part, Part]:
        """Split files at random, within each class or each class of each domain.

        See :func:`split_rows`.
        """
        labels = self.labels
        if self.domains is not None:
            named = [classes[label] for label in labels.tolist()]
            pairs = list(zip(self.domains.tolist(), named, strict=True))
            # Pairs, since paths may be ambiguous ("c" + "a/b", "c/a" + "b"). Their order determines
            # the test images.
            cells = sorted(set(pairs), key=lambda pair: ("/".join(pair), pair))
            number = {pair: position for position, pair in enumerate(cells)}
            labels = np.array([number[pair] for pair in pairs])
            classes = ["/".join(pair) for pair in cells]
        return self.divided(split_rows(labels, test_percent, seed, classes))


@dataclass(frozen=True)
class Source:
    """All images of a data set with labels and class names, before the choice of classes.

    >>> pets = Part(["a.png", "b.png"], np.array([0, 1]))
    >>> Source([pets, pets], ("cat", "dog")).classes
    ('cat', 'dog')

    Args:
        parts: training and test images.
        classes: names of the C classes.

    Raises:
        InputError: blank or nearly equal names of classes or domains.
    """

    parts: Sequence[Part]
    classes: tuple[str, ...]

    def __post_init__(self) -> None:
        check_names("this data set", self.classes)
        for part in self.parts:
            check_names("this data set", domain_names(part.domains), "domain")


def numbered(
    parts: Iterable[Part], classes: Sequence[str] = ()
) -> tuple[list[Part], tuple[str, ...]]:
    """Turn names of classes into labels.

    Args:
        parts: images labelled by the names of their classes.
        classes: class names by label; by default all that occur, sorted.

    Returns:
        the parts, and the class names by label.
    """
    parts = list(parts)
    names = [part.labels.tolist() for part in parts]
    known = tuple(classes or sorted(set().union(*names)))
    label = {name: position for position, name in enumerate(known)}
    numbers = [np.array([label[name] for name in own]) for own in names]
    return [replace(p, labels=own) for p, own in zip(parts, numbers, strict=True)], known


def split_rows(
    targets: np.ndarray, test_percent: float, seed: int, classes: Sequence[str]
) -> np.ndarray:
    """Choose test rows at random, and return their mask, (n,) bool.

    With one label per image, ``test_percent`` of each class are test images, rounded, at least one
    and never all. Multi-label images are split as a whole; then each class that one part lacks gets
    an image from the other part.

    Raises:
        InputError: a bad percentage or seed, or a class with a single image.
    """
    if isinstance(test_percent, bool) or not 0 < test_percent < 100:
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

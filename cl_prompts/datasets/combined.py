"""Two data sets in sequence, with classes matched by name."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.datasets.classes import alike, check_names
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import Hashed, check_files, labels_fingerprint
from cl_prompts.errors import InputError


class CombinedSet(ImageSet):
    """The images of other sets in sequence, with labels of its own.

    Each image is read by its own set, under its number there.

    Args:
        parts: the other sets.
        targets, ignored, domains: of all images, see :class:`ImageSet`.

    Example:
        >>> one = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        >>> two = ImageSet(torch.ones(1, 3, 8, 8), np.array([0]), None)
        >>> both = CombinedSet([one, two], np.array([0, 1, 2]))
        >>> [(float(image.mean()), label) for image, label in both]
        [(0.0, 0), (0.0, 1), (1.0, 2)]
    """

    def __init__(
        self,
        parts: Sequence[ImageSet],
        targets: np.ndarray,
        ignored: np.ndarray | None = None,
        domains: np.ndarray | None = None,
    ) -> None:
        self.parts = tuple(parts)
        self.targets = targets
        self.ignored = ignored
        self.domains = domains

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        part, row = self._place(index)
        label = self.targets[index]
        if self.multi_label:
            return part[row][0], torch.from_numpy(label.astype(np.float32))
        return part[row][0], int(label)

    def _place(self, index: int) -> tuple[ImageSet, int]:
        """The set that an image comes from, and its row there."""
        row = range(len(self))[index]  # allows negative indices
        *others, last = self.parts
        for part in others:
            if row < len(part):
                return part, row
            row -= len(part)
        return last, row

    @property
    def is_plain(self) -> bool:
        """Whether each read of an image gives the same pixels."""
        return all(part.is_plain for part in self.parts)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """File of each image; empty unless all images come from files."""
        found = [file for file in _known_files(self) if file]
        return tuple(found) if len(found) == len(self) else ()

    def plain(self) -> ImageSet:
        """Return the set without augmentation."""
        other = copy(self)
        other.parts = tuple(part.plain() for part in self.parts)
        return other

    def fingerprint(self, hashed: Hashed | None = None) -> dict[str, Any]:
        """Identify images and labels."""
        labels = labels_fingerprint(self.targets, self.ignored, self.domains)
        found: dict[str, Any] = {"images": len(self), "labels": labels, "files": None}
        parts = [part.fingerprint(hashed) for part in self.parts]
        for key in ("files", "contents"):
            values = json.dumps([part[key] for part in parts])
            found[key] = hashlib.sha256(values.encode()).hexdigest()
        return found

    def content(self, row: int) -> str:
        """SHA-256 of an image."""
        part, place = self._place(row)
        return part.content(place)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the augmentation of all parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; the state of a single set restores the first part."""
        for part, own in zip(self.parts, state.get("parts", [state]), strict=False):
            part.load_state_dict(own)


def _known_files(images: ImageSet) -> Sequence[ImageFile | None]:
    """File of each image; None for images in memory."""
    if not isinstance(images, CombinedSet):
        return images.files or [None] * len(images)
    return [file for part in images.parts for file in _known_files(part)]


@dataclass(frozen=True)
class JoinedDataSet(DataSet):
    """Two data sets in sequence; see :func:`joined`.

    Example:
        >>> def pets(*classes: str) -> DataSet:
        ...     images = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        ...     return DataSet("pets", images, images, classes)
        >>> both = joined(pets("cat", "dog"), pets("dog", "emu"))
        >>> both.classes, both.new_classes
        (('cat', 'dog', 'emu'), ('emu',))

    Attributes:
        before: the first data set, whose classes keep their labels.
        later: the second data set.
        columns: new label of each class of ``later``.
    """

    before: DataSet = field(default=None, repr=False)  # type: ignore[assignment]
    later: DataSet = field(default=None, repr=False)  # type: ignore[assignment]
    columns: tuple[int, ...] = field(default=(), repr=False)

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Classes that only ``later`` has."""
        return self.classes[len(self.before.classes) :]


def joined(before: DataSet, later: DataSet) -> JoinedDataSet:
    """Join two data sets, with classes of one name as one class.

    Args:
        before: the first one, whose classes keep their numbers.
        later: the other one.

    Raises:
        InputError: one has several classes per image and the other has not, a new class or
            domain is called as a known one but for case, blanks or Unicode form, or a file comes
            twice.
    """
    if before.multi_label != later.multi_label:
        has = {True: "several classes per image", False: "one class per image"}
        raise InputError(
            f"data set {before.name!r} has {has[before.multi_label]} and {later.name!r} has"
            f" {has[later.multi_label]}: use the same kind"
        )
    new = [name for name in later.classes if name not in before.classes]
    classes = (*before.classes, *new)
    pair = alike(classes)
    if pair is not None:
        raise InputError(
            f"class {pair[1]!r} of data set {later.name!r} differs from the known class {pair[0]!r}"
            f" only in case, blanks or the encoding of accents: rename its folder to {pair[0]!r}"
        )
    both = f"data sets {before.name!r} and {later.name!r}"
    check_names(both, sorted({*before.domains, *later.domains}), "domain")
    # Known classes keep their labels; new ones follow in the order of the later data set.
    columns = [classes.index(name) for name in later.classes]
    pairs = ((before.train, later.train), (before.test, later.test))
    train, test = (_in_sequence(*pair, columns, len(classes)) for pair in pairs)
    files = ([file for file in _known_files(part) if file] for part in (train, test))
    check_files(both, *files)
    return JoinedDataSet(
        name=later.name,
        train=train,
        test=test,
        classes=classes,
        mean=before.mean,
        std=before.std,
        skipped=before.skipped + later.skipped,
        unread=Counter(before.unread) + Counter(later.unread),
        before=before,
        later=later,
        columns=tuple(columns),
    )


def _in_sequence(
    first: ImageSet, second: ImageSet, columns: list[int], n_classes: int
) -> CombinedSet:
    """Join two sets; ``columns`` are the new labels of the second one's classes."""
    parts = (first, second)

    def joined_labels(old: np.ndarray, new: np.ndarray) -> np.ndarray:
        if old.ndim == 1:
            return np.concatenate([old, np.asarray(columns)[new]])
        # Classes of the other part are 0.
        wide = np.zeros((len(old) + len(new), n_classes), dtype=old.dtype)
        wide[: len(old), : old.shape[1]] = old
        wide[len(old) :, columns] = new
        return wide

    known = [part.domains for part in parts if part.domains is not None]
    ignored = None
    if any(part.ignored is not None for part in parts):
        none = [np.zeros(part.targets.shape, dtype=bool) for part in parts]
        ignored = joined_labels(
            *(s if p.ignored is None else p.ignored for p, s in zip(parts, none, strict=True))
        )
    targets = joined_labels(first.targets, second.targets)
    domains = np.concatenate(known) if len(known) == len(parts) else None
    return CombinedSet(parts, targets, ignored, domains)


def contents(images: ImageSet, rows: Sequence[int]) -> list[str]:
    """SHA-256 of images, in hexadecimal: of their files, or of pixels in memory.

    Args:
        images: the set.
        rows: rows of the set, in the order of the result.

    Raises:
        InputError: names a file that cannot be read.

    Example:
        >>> zeros = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.array([0, 1]), None)
        >>> len({*contents(zeros, [0, 1])})
        1
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(images.content, rows))

"""Two data sets in sequence, whose classes are matched by name."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.datasets.classes import alike, check_names
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import check_files, file_hash, labels_fingerprint
from cl_prompts.errors import InputError


class JoinedSet(ImageSet):
    """The images of one set, then those of another, each read by its own set.

    Args:
        first: its classes keep their labels.
        second: the other set.
        columns: new label of each class of the second set.
        n_classes: number of all classes.

    Example:
        >>> import torch
        >>> one = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        >>> two = ImageSet(torch.ones(1, 3, 8, 8), np.array([0]), None)
        >>> both = JoinedSet(one, two, columns=[2], n_classes=3)
        >>> both.targets.tolist(), both[2][1]
        ([0, 1, 2], 2)
    """

    def __init__(
        self, first: ImageSet, second: ImageSet, columns: list[int], n_classes: int
    ) -> None:
        self.parts = (first, second)
        self._columns = columns
        self._n_classes = n_classes
        domains = [part.domains for part in self.parts]
        known = [some for some in domains if some is not None]
        self.domains = np.concatenate(known) if len(known) == len(domains) else None
        self.targets = self._joined([part.targets for part in self.parts])
        ignored = [part.ignored for part in self.parts]
        self.ignored = None
        if any(pairs is not None for pairs in ignored):
            shapes = [np.zeros(part.targets.shape, dtype=bool) for part in self.parts]
            filled = [s if p is None else p for p, s in zip(ignored, shapes, strict=True)]
            self.ignored = self._joined(filled)

    def _joined(self, values: list[np.ndarray]) -> np.ndarray:
        """Join labels (n,) or matrices (n, C) of both parts, with the labels of all classes."""
        first, second = values
        if first.ndim == 1:
            return np.concatenate([first, np.asarray(self._columns)[second]])
        # Classes of the other part are 0.
        wide = np.zeros((len(first) + len(second), self._n_classes), dtype=first.dtype)
        wide[: len(first), : first.shape[1]] = first
        wide[len(first) :, self._columns] = second
        return wide

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        row = range(len(self))[index]
        second = row >= len(self.parts[0])
        # False and True serve as 0 and 1.
        image, _ = self.parts[second][row - second * len(self.parts[0])]
        label = self.targets[row]
        return image, Tensor(label.astype(np.float32)) if self.multi_label else int(label)

    @property
    def is_plain(self) -> bool:
        """Whether each read of an image gives the same pixels."""
        return all(part.is_plain for part in self.parts)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """File of each image; empty unless all images come from files."""
        files = [part.files for part in self.parts]
        return (*files[0], *files[1]) if all(files) else ()

    def without(self, paths: Collection[ImageFile]) -> ImageSet:
        """Return the set without the images in these files."""
        first, second = (part.without(paths) for part in self.parts)
        return JoinedSet(first, second, self._columns, self._n_classes)

    def plain(self) -> ImageSet:
        """Return the set without augmentation."""
        first, second = (part.plain() for part in self.parts)
        return JoinedSet(first, second, self._columns, self._n_classes)

    def fingerprint(self) -> dict[str, Any]:
        """Identify the images and labels of both parts."""
        parts = [part.fingerprint() for part in self.parts]
        labels = labels_fingerprint(self.targets, self.ignored, self.domains)
        joined: dict[str, Any] = {"images": len(self), "labels": labels}
        for key in ("files", "contents"):
            values = json.dumps([part[key] for part in parts])
            joined[key] = hashlib.sha256(values.encode()).hexdigest()
        return joined

    def content(self, row: int) -> str:
        """SHA-256 of an image."""
        first, second = self.parts
        return first.content(row) if row < len(first) else second.content(row - len(first))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of both parts' augmentation."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; the state of a single set restores the first part."""
        for part, own in zip(self.parts, state.get("parts", [state]), strict=False):
            part.load_state_dict(own)


@dataclass(frozen=True)
class JoinedDataSet(DataSet):
    """Two data sets in sequence; see :func:`joined`.

    Example:
        >>> import torch
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


def joined(before: DataSet, later: DataSet, *, once: bool = True) -> JoinedDataSet:
    """Join two data sets, with classes of one name as one class.

    Args:
        before: the first one, whose classes keep their numbers.
        later: the other one.
        once: whether a file that is in both is refused.

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
    parts = ((before.train, later.train), (before.test, later.test))
    train, test = (JoinedSet(*part, columns, len(classes)) for part in parts)
    if once:
        check_files(
            both,
            [*_known_files(before.train), *_known_files(later.train)],
            [*_known_files(before.test), *_known_files(later.test)],
        )
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


def copies_across(data: JoinedDataSet) -> list[str]:
    """Report test images of one data set whose bytes equal a training image of the other.

    Raises:
        InputError: names an unreadable file.
    """
    lines = []
    parts = (data.before, data.later)
    for images, tests in (parts, parts[::-1]):
        trained = {file_hash(path): path for path in _known_files(images.train)}
        equal = [path for path in _known_files(tests.test) if file_hash(path) in trained]
        if equal:
            lines.append(
                f"{len(equal)} test images of data set {tests.name!r} equal a training image of"
                f" {images.name!r}, the first is {equal[0]} = {trained[file_hash(equal[0])]}:"
                " remove it on one side"
            )
    return lines


def _known_files(images: ImageSet) -> list[ImageFile]:
    """List the files of the images that come from files."""
    if isinstance(images, JoinedSet):
        return [path for part in images.parts for path in _known_files(part)]
    return list(images.files)

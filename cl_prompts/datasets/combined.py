"""Sets made of other sets: two in sequence, with classes matched by name, and chosen images."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.datasets.classes import alike, check_names, relabel
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import check_files, file_hash, labels_fingerprint
from cl_prompts.datasets.folders import class_folders, scan_images
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.errors import InputError


class CombinedSet(ImageSet):
    """The images of other sets in sequence, or some of them, with labels of its own.

    Each image is read by its own set, under its number there.

    Args:
        parts: the other sets.
        targets, ignored, domains: of the chosen rows, see :class:`ImageSet`.
        rows: chosen rows of all parts in sequence; None for all.

    Example:
        >>> one = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        >>> two = ImageSet(torch.ones(1, 3, 8, 8), np.array([0]), None)
        >>> both = CombinedSet([one, two], np.array([2, 0]), rows=[2, 0])
        >>> [(float(image.mean()), label) for image, label in both]
        [(1.0, 2), (0.0, 0)]
    """

    def __init__(
        self,
        parts: Sequence[ImageSet],
        targets: np.ndarray,
        ignored: np.ndarray | None = None,
        domains: np.ndarray | None = None,
        rows: Any = None,
    ) -> None:
        self.parts = tuple(parts)
        self.targets = targets
        self.ignored = ignored
        self.domains = domains
        self.rows = np.arange(sum(map(len, parts))) if rows is None else np.asarray(rows, np.int64)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        part, row = self._place(index)
        label = self.targets[index]
        if self.multi_label:
            return part[row][0], torch.from_numpy(label.astype(np.float32))
        return part[row][0], int(label)

    def _place(self, index: int) -> tuple[ImageSet, int]:
        """The set that an image comes from, and its row there."""
        row = int(self.rows[index])
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

    def fingerprint(self) -> dict[str, Any]:
        """Identify images and labels; of chosen images, whether or not the others exist."""
        labels = labels_fingerprint(self.targets, self.ignored, self.domains)
        found: dict[str, Any] = {"images": len(self), "labels": labels, "files": None}
        if len(self) < sum(map(len, self.parts)):
            contained = "".join(contents(self))
            return {**found, "contents": hashlib.sha256(contained.encode()).hexdigest()}
        parts = [part.fingerprint() for part in self.parts]
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
    found = [file for part in images.parts for file in _known_files(part)]
    return [found[row] for row in images.rows.tolist()]


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
    pairs = ((before.train, later.train), (before.test, later.test))
    train, test = (_in_sequence(*pair, columns, len(classes)) for pair in pairs)
    if once:
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


def copies_across(data: JoinedDataSet) -> list[str]:
    """Report test images of one data set whose bytes equal a training image of the other.

    Raises:
        InputError: names an unreadable file.
    """
    lines = []
    parts = (data.before, data.later)
    for images, tests in (parts, parts[::-1]):
        trained = {file_hash(path): path for path in _known_files(images.train) if path}
        equal = [path for path in _known_files(tests.test) if path and file_hash(path) in trained]
        if equal:
            lines.append(
                f"{len(equal)} test images of data set {tests.name!r} equal a training image of"
                f" {images.name!r}, the first is {equal[0]} = {trained[file_hash(equal[0])]}:"
                " remove it on one side"
            )
    return lines


def contents(images: ImageSet, rows: Sequence[int] | None = None) -> list[str]:
    """SHA-256 of images, in hexadecimal: of their files, or of pixels in memory.

    Args:
        images: the set.
        rows: rows of the set, in the order of the result; None: all.

    Raises:
        InputError: names a file that cannot be read.

    Example:
        >>> zeros = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.array([0, 1]), None)
        >>> len({*contents(zeros)})
        1
    """
    chosen = range(len(images)) if rows is None else rows
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(images.content, chosen))


def with_contents(data: DataSet, kept: Collection[str]) -> DataSet:
    """A data set with the training images of these hashes alone, and with their classes.

    Test images of other classes are left out.

    Raises:
        InputError: no training image remains.
    """
    train = [row for row, content in enumerate(contents(data.train)) if content in kept]
    if not train:
        raise InputError(f"no training image of data set {data.name!r} would remain")
    labels, tested = data.train.targets[train], data.test.targets
    found = labels.any(axis=0) if data.multi_label else np.bincount(labels) > 0
    classes = np.flatnonzero(found).tolist()
    test = range(len(tested)) if data.multi_label else np.flatnonzero(np.isin(tested, classes))
    rest = {one.name: getattr(data, one.name) for one in fields(DataSet)}
    rest["train"] = _some(data.train, train, classes)
    rest["test"] = _some(data.test, test, classes)
    rest["classes"] = tuple(data.classes[number] for number in classes)
    return DataSet(**rest)


def _some(whole: ImageSet, rows: Any, classes: Sequence[int]) -> CombinedSet:
    """Choose images, and the classes that remain, in their new order."""
    chosen = np.asarray(rows, dtype=np.int64)
    n_classes = max([*classes, whole.targets.max(initial=0)]) + 1
    _, targets = relabel(whole.targets[chosen], np.asarray(classes), n_classes)
    ignored = None if whole.ignored is None else whole.ignored[chosen][:, list(classes)]
    domains = None if whole.domains is None else whole.domains[chosen]
    return CombinedSet([whole], targets, ignored, domains, chosen)


def once_tested(data: DataSet) -> DataSet:
    """A data set without repeated test images."""
    first: dict[str, int] = {}
    for row, content in enumerate(contents(data.test)):
        first.setdefault(content, row)
    if len(first) == len(data.test):
        return data
    return replace(data, test=_some(data.test, [*first.values()], range(len(data.classes))))


def tested_on(data: DataSet, folder: Path, transform: ImageTransform) -> DataSet:
    """A data set with the images of another folder, ``<class>/*``, as its test images.

    Raises:
        InputError: no such images, a class that the data set does not have, or several labels.
    """
    if data.multi_label:
        raise InputError(f"{folder} has one class per image, and data set {data.name!r} several")
    names = class_folders(folder)
    other = sorted({*names} ^ {*data.classes})
    if other:
        has = "an unknown class" if other[0] in names else "no class"
        raise InputError(f"test folder {folder.name} has {has} {other[0]!r}: rename or add it")
    found = scan_images([folder / name for name in names])
    targets = np.array([data.classes.index(name) for name in names])[found.labels]
    return replace(data, test=ImageSet(FileImages(found.files), targets, transform))

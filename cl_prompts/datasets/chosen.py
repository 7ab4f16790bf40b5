"""Images known by their content: hashes of a set's images, and sets without some of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import labels_fingerprint
from cl_prompts.datasets.folders import class_folders, scan_images
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.errors import InputError


def contents(images: ImageSet, rows: Sequence[int] | None = None) -> list[str]:
    """SHA-256 of images, in hexadecimal: of their files, or of pixels in memory.

    Args:
        images: the set.
        rows: rows of the set, in the order of the result; None: all.

    Raises:
        InputError: names a file that cannot be read.

    Example:
        >>> import torch
        >>> zeros = ImageSet(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), np.array([0, 1]), None)
        >>> len({*contents(zeros)})
        1
    """
    chosen = range(len(images)) if rows is None else rows
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        return list(threads.map(images.content, chosen))


class ChosenSet(ImageSet):
    """Some rows of a set, with their classes renumbered.

    Args:
        whole: the set.
        rows: rows of it, in the order of this set.
        classes: numbers of the classes that remain, in their new order.

    Example:
        >>> import torch
        >>> whole = ImageSet(torch.rand(3, 3, 8, 8), np.array([0, 1, 2]), None)
        >>> ChosenSet(whole, [2, 0], classes=[0, 2]).targets.tolist()
        [1, 0]
    """

    def __init__(self, whole: ImageSet, rows: Sequence[int], classes: Sequence[int]) -> None:
        self.whole = whole
        self.chosen = np.asarray(rows, dtype=np.int64)
        self.classes = list(classes)
        targets = whole.targets[self.chosen]
        if whole.multi_label:
            self.targets = targets[:, self.classes]
        else:
            numbers = np.full(max([*self.classes, int(whole.targets.max())]) + 1, -1)
            numbers[self.classes] = np.arange(len(self.classes))
            self.targets = numbers[targets]
        ignored, domains = whole.ignored, whole.domains
        self.ignored = None if ignored is None else ignored[self.chosen][:, self.classes]
        self.domains = None if domains is None else domains[self.chosen]

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        image, _ = self.whole[int(self.chosen[index])]
        label = self.targets[index]
        return image, Tensor(label.astype(np.float32)) if self.multi_label else int(label)

    @property
    def is_plain(self) -> bool:
        """Whether every read of an image is known to give the same pixels."""
        return self.whole.is_plain

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """The file of each image; empty where images of the whole set come from elsewhere."""
        files = self.whole.files
        return tuple(files[row] for row in self.chosen.tolist()) if files else ()

    def content(self, row: int) -> str:
        """SHA-256 of an image."""
        return self.whole.content(int(self.chosen[row]))

    def without(self, paths: Collection[ImageFile]) -> ImageSet:
        """The same without the images in these files."""
        files = self.files or [""] * len(self)
        pairs = zip(self.chosen.tolist(), files, strict=True)
        return ChosenSet(
            self.whole, [row for row, file in pairs if file not in paths], self.classes
        )

    def plain(self) -> ImageSet:
        """The same images without augmentation."""
        return ChosenSet(self.whole.plain(), self.chosen.tolist(), self.classes)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of images and labels, whether or not the other images of the set exist."""
        labels = labels_fingerprint(self.targets, self.ignored, self.domains)
        found = hashlib.sha256("".join(contents(self)).encode()).hexdigest()
        return {"images": len(self), "labels": labels, "files": None, "contents": found}

    def state_dict(self) -> dict[str, Any]:
        """State of the set's augmentation."""
        return self.whole.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        self.whole.load_state_dict(state)


def chosen(data: DataSet, train: Sequence[int], test: Sequence[int]) -> DataSet:
    """A data set with some of its images, and with the classes that training images have.

    Test images of other classes are left out.

    Raises:
        InputError: no training image remains.
    """
    if not len(train):
        raise InputError(f"no training image of data set {data.name!r} would remain")
    labels = data.train.targets[list(train)]
    found = labels.any(axis=0) if data.multi_label else np.bincount(labels) > 0
    classes = np.flatnonzero(found).tolist()
    if not data.multi_label:
        known = np.isin(data.test.targets, classes)
        test = [row for row in test if known[row]]
    rest = {one.name: getattr(data, one.name) for one in fields(DataSet)}
    rest["train"] = ChosenSet(data.train, train, classes)
    rest["test"] = ChosenSet(data.test, test, classes)
    rest["classes"] = tuple(data.classes[number] for number in classes)
    return DataSet(**rest)


def with_contents(data: DataSet, kept: Collection[str]) -> DataSet:
    """A data set with the training images of these hashes alone; see :func:`chosen`."""
    found = contents(data.train)
    train = [row for row, content in enumerate(found) if content in kept]
    return chosen(data, train, range(len(data.test)))


def once_tested(data: DataSet) -> DataSet:
    """A data set without repeated test images."""
    first: dict[str, int] = {}
    for row, content in enumerate(contents(data.test)):
        first.setdefault(content, row)
    if len(first) == len(data.test):
        return data
    return replace(data, test=ChosenSet(data.test, [*first.values()], range(len(data.classes))))


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
    targets = np.array([data.classes.index(name) for name in names])[found.positions]
    return replace(data, test=ImageSet(FileImages(found.paths), targets, transform))

"""Readers: each turns the folder of one data set, in its official layout, into images and
labels."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10

from cl_prompts.datasets.digits import digits_images, digits_split
from cl_prompts.datasets.images import FileImages, Images
from cl_prompts.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")

Reader = Callable[
    ..., "Source"
]  # (folder, cache: see FileImages, options of the data set's own) -> Source


@dataclass(frozen=True)
class Source:
    """All images of a data set with their labels and the names of the C classes.

    Labels are integers 0..C-1, (n,) int64, or zeros and ones, (n, C) uint8, where an image may have
    several. In the latter case ``train_ignored`` and ``test_ignored`` may mark pairs that average
    precision leaves out, (n, C) bool.
    """

    train: Images
    train_targets: np.ndarray
    test: Images
    test_targets: np.ndarray
    classes: tuple[str, ...]
    train_ignored: np.ndarray | None = None
    test_ignored: np.ndarray | None = None


class LayoutError(InputError):
    """A folder does not hold what the data set's layout asks for; the message is a clause that says
    what is amiss."""


def read_digits(folder: Path, cache: int | None) -> Source:
    """The embedded digits; both arguments are without meaning here."""
    images, labels = digits_images()
    train, test = digits_split(labels)
    names = tuple(str(digit) for digit in range(10))
    return Source(
        images[torch.from_numpy(train)],
        labels[train],
        images[torch.from_numpy(test)],
        labels[test],
        names,
    )


def read_cifar(kind: type[CIFAR10], folder: Path, cache: int | None) -> Source:
    """CIFAR-10 or CIFAR-100 by torchvision's class, or from class folders when ``folder/train`` is
    a folder."""
    if (folder / "train").is_dir():
        return read_folder(folder, cache)
    above = _above(folder, kind.base_folder)
    try:
        train, test = (kind(above, train=part) for part in (True, False))
    except RuntimeError as error:
        raise LayoutError(
            f"its files in {above / kind.base_folder} are missing or damaged"
        ) from error
    arrays = [torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return Source(arrays[0], labels[0], arrays[1], labels[1], tuple(train.classes))


def download_cifar(kind: type[CIFAR10], folder: Path) -> None:
    """Fetch the official archive and unpack it, unless it or class folders are there already."""
    if not (folder / "train").is_dir():
        kind(_above(folder, kind.base_folder), download=True)


def _above(folder: Path, usual: str) -> Path:
    return folder.parent if folder.name == usual else folder


def read_folder(folder: Path, cache: int | None) -> Source:
    """``train/<class>/*`` and ``test/<class>/*`` (``val`` where there is no ``test``); classes in
    sorted order."""
    train = folder / "train"
    test = folder / "test" if (folder / "test").is_dir() else folder / "val"
    for part, name in ((train, "train"), (test, "test or val")):
        if not part.is_dir():
            raise LayoutError(f"it has no folder {name}")
    classes, test_classes = _class_folders(train), _class_folders(test)
    for name in sorted(set(classes) ^ set(test_classes)):
        has, lacks, kind = (train, test, "test") if name in classes else (test, train, "training")
        raise InputError(
            f"class {name!r} has no {kind} images: {has / name} is there, {lacks / name} is not"
        )
    train_paths, train_targets = _scan([train / name for name in classes])
    test_paths, test_targets = _scan([test / name for name in classes])
    return Source(
        FileImages(train_paths, cache=cache),
        train_targets,
        FileImages(test_paths, cache=cache),
        test_targets,
        classes,
    )


def read_imagenet_r(folder: Path, cache: int | None) -> Source:
    """ImageNet-R, split as in the published Si-Blurry code.

    The first 80 % of ``torch.randperm(n)`` under generator seed 0, over the sorted listing of all
    images, are training images and the rest test images, both put back in ascending order (24000
    and 6000 of the official 30000).
    """
    classes = _class_folders(folder)
    paths, targets = _scan([folder / name for name in classes])
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).numpy()
    n_train = int(0.8 * len(paths))
    return _split(
        paths, targets, np.sort(order[:n_train]), np.sort(order[n_train:]), classes, cache
    )


def read_tiny_imagenet(folder: Path, cache: int | None) -> Source:
    """Tiny-ImageNet, official training and validation images; a class's label is its line number in
    ``wnids.txt``.

    Images come in the order of sorted folder (or, for validation, class) and file names.
    """
    wnids = [fields[0] for fields in table(folder / "wnids.txt", 1)]
    label = {wnid: row for row, wnid in enumerate(wnids)}
    ordered = sorted(wnids)
    paths, positions = _scan([folder / "train" / wnid for wnid in ordered])
    listing = folder / "val" / "val_annotations.txt"
    listed = sorted((wnid, name) for name, wnid in table(listing, 2))
    for wnid, _ in listed:
        if wnid not in label:
            raise LayoutError(f"{listing} names class {wnid!r}, which is not in wnids.txt")
    test_paths = [str(folder / "val" / "images" / name) for _, name in listed]
    _all_there(test_paths, listing)
    return Source(
        FileImages(paths, cache=cache),
        np.array([label[wnid] for wnid in ordered], dtype=np.int64)[positions],
        FileImages(test_paths, cache=cache),
        np.array([label[wnid] for wnid, _ in listed], dtype=np.int64),
        tuple(wnids),
    )


def read_cub200(folder: Path, cache: int | None) -> Source:
    """CUB-200-2011 with the official split file (5994 training and 5794 test images).

    Deviation: the published Si-Blurry code draws a random 80/20 split instead.
    """
    classes = [name for _, name in table(folder / "classes.txt", 2)]
    files = dict(table(folder / "images.txt", 2))
    label = {
        image: int(number) - 1
        for image, number in table(folder / "image_class_labels.txt", 2, ints=True)
    }
    in_train = {
        image: flag == "1" for image, flag in table(folder / "train_test_split.txt", 2, ints=True)
    }
    if not files.keys() == label.keys() == in_train.keys():
        raise LayoutError(
            "images.txt, image_class_labels.txt and train_test_split.txt list different images"
        )
    if not files or not set(label.values()) <= set(range(len(classes))):
        raise LayoutError(
            f"image_class_labels.txt must hold labels 1 to {len(classes)}, as classes.txt does"
        )
    paths = [str(folder / "images" / name) for name in files.values()]
    _all_there(paths, folder / "images.txt")
    targets = np.array([label[image] for image in files], dtype=np.int64)
    flags = np.array([in_train[image] for image in files])
    return _split(
        paths, targets, np.flatnonzero(flags), np.flatnonzero(~flags), tuple(classes), cache
    )


def _split(
    paths: Sequence[str],
    targets: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    classes: tuple[str, ...],
    cache: int | None,
) -> Source:
    parts = [FileImages([paths[row] for row in rows], cache=cache) for rows in (train, test)]
    return Source(parts[0], targets[train], parts[1], targets[test], classes)


def _class_folders(parent: Path) -> tuple[str, ...]:
    names = tuple(
        sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and entry.name[0] != ".")
    )
    if not names:
        raise LayoutError(f"{parent} holds no class folders")
    return names


def _scan(folders: Iterable[Path]) -> tuple[list[str], np.ndarray]:
    """Sorted image files below each folder, and the position of the folder each lies in."""
    paths: list[str] = []
    counts: list[int] = []
    for folder in folders:
        before = len(paths)
        for place, _, names in sorted(os.walk(folder, followlinks=True)):
            paths += [os.path.join(place, name) for name in sorted(names) if _is_image(name)]
        if len(paths) == before:
            raise LayoutError(f"no images found in {folder} (looked for {' '.join(EXTENSIONS)})")
        counts.append(len(paths) - before)
    return paths, np.repeat(np.arange(len(counts), dtype=np.int64), counts)


def _is_image(name: str) -> bool:
    return name.lower().endswith(EXTENSIONS) and not name.startswith(".")


def table(path: Path, columns: int, *, ints: bool = False) -> list[list[str]]:
    """The first fields of each row, parted by white space; with ``ints`` the second must be a whole
    number."""
    if not path.is_file():
        raise LayoutError(f"{path} is missing")
    rows = [
        line.split()
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    if not rows:
        raise LayoutError(f"{path} is empty")
    for number, fields in enumerate(rows, start=1):
        if len(fields) < columns or (ints and not fields[1].isdecimal()):
            raise LayoutError(
                f"row {number} of {path} is not as it should be: {' '.join(fields)!r}"
            )
    return [fields[:columns] for fields in rows]


def _all_there(paths: Sequence[str], listing: Path) -> None:
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise LayoutError(
            f"{listing} lists {len(missing)} images that are missing, the first is {missing[0]}"
        )

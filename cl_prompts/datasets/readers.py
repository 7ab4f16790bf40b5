"""Readers of single-label data sets and class folders; random training and test splits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10

from cl_prompts.checks import whole_number
from cl_prompts.datasets.classes import check_names, domain_names
from cl_prompts.datasets.files import LayoutError, check_listed, check_once, table
from cl_prompts.datasets.folders import ListedImages, class_folders, scan_images
from cl_prompts.datasets.images import FileImages, ImageCache, Images
from cl_prompts.errors import InputError

#: (folder, cache of ``FileImages``, options) -> ``Source``
Reader = Callable[..., "Source"]


@dataclass(frozen=True)
class Source:
    """All images of a data set with labels and class names, before the choice of classes.

    >>> source = Source(torch.zeros(2, 3, 8, 8), np.array([0, 1]),
    ...                 torch.zeros(2, 3, 8, 8), np.array([1, 0]), ("cat", "dog"))
    >>> source.classes[source.test_targets[0]]
    'dog'

    Args:
        train, test: the images.
        train_targets, test_targets: labels 0..C-1, (n,) int64, or zeros and ones (n, C) uint8 of
            multi-label images.
        classes: names of the C classes.
        train_ignored, test_ignored: see :class:`~cl_prompts.datasets.dataset.ImageSet`.
        unread: number of other files of each suffix among the images.
        train_domains, test_domains: name of each image's domain, (n,), or None.

    Raises:
        InputError: blank or nearly equal names of classes or domains.
    """

    train: Images
    train_targets: np.ndarray
    test: Images
    test_targets: np.ndarray
    classes: tuple[str, ...]
    train_ignored: np.ndarray | None = None
    test_ignored: np.ndarray | None = None
    unread: Counter[str] = field(default_factory=Counter)
    train_domains: np.ndarray | None = None
    test_domains: np.ndarray | None = None

    @classmethod
    def of(
        cls, parts: Iterable[ListedImages], classes: Iterable[str], cache: ImageCache | None
    ) -> Source:
        """Make a source of training and test image files; see ``FileImages``."""
        train, test = parts
        images = [FileImages(part.paths, cache=cache) for part in (train, test)]
        return cls(
            *(images[0], train.labels, images[1], test.labels, tuple(classes)),
            unread=train.unread + test.unread,
            train_domains=train.domains,
            test_domains=test.domains,
        )

    def __post_init__(self) -> None:
        check_names("this data set", self.classes)
        for domains in (self.train_domains, self.test_domains):
            check_names("this data set", domain_names(domains), "domain")


def read_cifar(kind: type[CIFAR10], folder: Path, cache: ImageCache | None) -> Source:
    """Read CIFAR-10 or CIFAR-100 by torchvision, or class folders if ``folder/train`` exists."""
    if (folder / "train").is_dir():
        return read_folder(folder, cache)
    above = _above(folder, kind.base_folder)
    try:
        train = kind(above, train=True)
        test = kind(above, train=False)
    except RuntimeError as error:
        raise LayoutError(
            f"its files in {above / kind.base_folder} are missing or damaged"
        ) from error
    arrays = [torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in (train, test)]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    return Source(arrays[0], labels[0], arrays[1], labels[1], tuple(train.classes))


def download_cifar(kind: type[CIFAR10], folder: Path) -> None:
    """Download and unpack the official archive, unless it or class folders exist."""
    if not (folder / "train").is_dir():
        kind(_above(folder, kind.base_folder), download=True)


def _above(folder: Path, usual: str) -> Path:
    return folder.parent if folder.name == usual else folder


def read_folder(
    folder: Path,
    cache: ImageCache | None,
    test_percent: float | None = None,
    split_seed: int = 0,
    leave_out: Sequence[str] = (),
) -> Source:
    """Read class folders in ``train`` and ``test`` (or ``val``), or split ``<class>/*`` at random.

    Classes and files are sorted.

    Args:
        test_percent: percent of each class's images that become test images, at least one, for a
            folder of class folders; None if it has a test folder.
        split_seed: seed of this choice.
        leave_out: classes whose folders are not read.

    Raises:
        LayoutError: a missing or empty folder.
        InputError: a class with a folder in only one part, or with too few images to split.
    """
    if test_percent is not None:
        classes = class_folders(folder, leave_out)
        whole = scan_images([folder / name for name in classes])
        rows = split_rows(whole.labels, test_percent, split_seed, classes)
        return Source.of(whole.divided(rows), classes, cache)
    train, test = both_parts(folder)
    classes = class_folders(train, leave_out)
    test_classes = class_folders(test, leave_out)
    for name in sorted(set(classes) ^ set(test_classes)):
        has, lacks, kind = (train, test, "test") if name in classes else (test, train, "training")
        raise InputError(
            f"class {name!r} has no {kind} images: {has / name} exists, {lacks / name} does not"
        )
    found = (scan_images([part / name for name in classes]) for part in (train, test))
    return Source.of(found, classes, cache)


def both_parts(folder: Path) -> tuple[Path, Path]:
    """Return the folders ``train``, and ``test`` or ``val``.

    Raises:
        LayoutError: a missing folder.
    """
    train = folder / "train"
    test = folder / ("test" if (folder / "test").is_dir() else "val")
    for part, name in ((train, "train"), (test, "test or val")):
        if not part.is_dir():
            raise LayoutError(f"it has no folder {name}")
    return train, test


def read_imagenet_r(folder: Path, cache: ImageCache | None) -> Source:
    """Read ImageNet-R, split as in the published Si-Blurry code.

    Of the sorted images, the first 80 % of ``torch.randperm(n)`` with generator seed 0 are training
    images, the rest test images, both in ascending order (24000 and 6000 of 30000).
    """
    classes = class_folders(folder)
    found = scan_images([folder / name for name in classes])
    n = len(found.paths)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0)).numpy()
    # Rounded down, as published.
    n_train = int(0.8 * n)
    rows = (np.sort(order[:n_train]), np.sort(order[n_train:]))
    return Source.of(found.divided(rows), classes, cache)


def read_tiny_imagenet(folder: Path, cache: ImageCache | None) -> Source:
    """Read Tiny-ImageNet's official training and validation images.

    The label of a class is its line number in ``wnids.txt``. Images are sorted by folder (for
    validation, by class) and file name.
    """
    wnids = [fields[0] for fields in table(folder / "wnids.txt", 1)]
    check_once(wnids, str(folder / "wnids.txt"), "class")
    label = {wnid: row for row, wnid in enumerate(wnids)}
    ordered = sorted(wnids)
    found = scan_images([folder / "train" / wnid for wnid in ordered])
    listing = folder / "val" / "val_annotations.txt"
    # Four coordinates of a box follow.
    listed = sorted((wnid, name) for name, wnid in table(listing, 2, unread=4))
    for wnid, _ in listed:
        if wnid not in label:
            raise LayoutError(f"{listing} names class {wnid!r}, which is not in wnids.txt")
    test_paths = [str(folder / "val" / "images" / name) for _, name in listed]
    check_listed(test_paths, str(listing))
    labels = np.array([label[wnid] for wnid in ordered], dtype=np.int64)[found.labels]
    test_labels = np.array([label[wnid] for wnid, _ in listed], dtype=np.int64)
    parts = (replace(found, labels=labels), ListedImages(test_paths, test_labels))
    return Source.of(parts, wnids, cache)


def read_cub200(folder: Path, cache: ImageCache | None) -> Source:
    """Read CUB-200-2011 with the official split (5994 training and 5794 test images).

    Deviation: the published Si-Blurry code draws a random 80/20 split.
    """
    classes = tuple(_by_id(folder / "classes.txt", what="class").values())
    files = _by_id(folder / "images.txt")
    labels = _by_id(folder / "image_class_labels.txt", ints=True)
    flags = _by_id(folder / "train_test_split.txt", ints=True)
    # Classes are numbered from 1 in the files.
    label = {image: int(number) - 1 for image, number in labels.items()}
    in_train = {image: flag == "1" for image, flag in flags.items()}
    if not files.keys() == label.keys() == in_train.keys():
        raise LayoutError(
            "images.txt, image_class_labels.txt and train_test_split.txt list different images"
        )
    if not set(label.values()) <= set(range(len(classes))):
        raise LayoutError(
            f"image_class_labels.txt must have the labels of classes.txt, 1 to {len(classes)}"
        )
    paths = [str(folder / "images" / name) for name in files.values()]
    check_listed(paths, str(folder / "images.txt"))
    targets = np.array([label[image] for image in files], dtype=np.int64)
    is_train = np.array([in_train[image] for image in files])
    rows = (np.flatnonzero(is_train), np.flatnonzero(~is_train))
    return Source.of(ListedImages(paths, targets).divided(rows), classes, cache)


def _by_id(file: Path, *, ints: bool = False, what: str = "image") -> dict[str, str]:
    """Read rows of an id and its value, each id once."""
    rows = table(file, 2, ints=ints)
    check_once([key for key, _ in rows], str(file), what)
    return {row[0]: row[1] for row in rows}


def split_rows(
    targets: np.ndarray, test_percent: float, seed: int, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows at random into training and test rows, both ascending.

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
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


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

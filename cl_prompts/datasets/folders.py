"""Image folders with one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from cl_prompts.datasets.files import LayoutError

#: Suffix of image files -> Pillow's format. The suffixes are those of torchvision's
#: ``ImageFolder``; no other format is decoded.
FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".ppm": "PPM",
    ".bmp": "BMP",
    ".pgm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
}

#: Usual names of training and test folders, in lower case
_PARTS = (("train", "training"), ("test", "testing", "val", "valid", "validation"))


@dataclass(frozen=True)
class ListedImages:
    """Image files with the label of each, and their domains if known.

    >>> images = ListedImages(["a.png", "b.png"], np.array([0, 1]))
    >>> first, others = images.divided((np.array([1]), np.array([0])))
    >>> first.paths, others.labels.tolist()
    (['b.png'], [0])

    Args:
        paths: of the n files, or images in tables.
        labels: numbers or names of their classes, (n,); or zeros and ones (n, C).
        domains: name of each file's domain, (n,), or None.
        unread: number of other files of each suffix, in lower case.
    """

    paths: Sequence[Any]
    labels: np.ndarray
    domains: np.ndarray | None = None
    unread: Counter[str] = field(default_factory=Counter)

    def divided(self, rows: tuple[np.ndarray, np.ndarray]) -> tuple[ListedImages, ListedImages]:
        """Divide the images into two parts; the first has ``unread``."""
        first, second = (
            ListedImages(
                [self.paths[row] for row in part.tolist()],
                self.labels[part],
                None if self.domains is None else self.domains[part],
            )
            for part in rows
        )
        return replace(first, unread=self.unread), second


def class_folders(parent: Path, leave_out: Collection[str] = ()) -> tuple[str, ...]:
    """List the folders in ``parent``, sorted, without hidden and excluded ones.

    Raises:
        LayoutError: no folders, an unreadable ``parent``, or folders that are named like the
            training and the test part of a data set.
    """
    _, folders, files = next(os.walk(parent, onerror=_refuse))
    names = tuple(name for name in sorted(_visible(folders)) if name not in leave_out)
    if not names:
        images = any(name.lower().endswith(tuple(FORMATS)) for name in _visible(files))
        above = " but images: use its parent, with one folder per class"
        raise LayoutError(f"{parent} has no class folders{above * images}")
    train, test = ([name for name in names if name.lower() in part] for part in _PARTS)
    if train and test:
        raise LayoutError(
            f"{parent} has {train[0]!r} and {test[0]!r}, which look like parts of a data set, not"
            " classes or domains: name them 'train' and 'test' (or 'val'), and remove test_percent"
        )
    return names


def holds_domains(parent: Path) -> bool:
    """Return whether the folders in ``parent`` look like domains with class folders.

    They do if they have no images directly inside, and all share at least half of the classes, two
    or more.

    Raises:
        LayoutError: no folders, or an unreadable one.
    """
    classes: list[set[str]] = []
    for domain in class_folders(parent):
        _, folders, files = next(os.walk(parent / domain, onerror=_refuse))
        if any(name.lower().endswith(tuple(FORMATS)) for name in _visible(files)):
            return False
        classes.append(set(_visible(folders)))
    shared = set.intersection(*classes)
    return len(classes) > 1 and len(shared) >= max(2, len(set.union(*classes)) / 2)


def scan_images(folders: Sequence[Path]) -> ListedImages:
    """List the image files of each folder at any depth, without hidden files and folders.

    Labels are the positions of their folders. Files are sorted by folder, then by the file's own
    folder, then by name. Files and the given folders may be links. Links to folders inside are not
    followed.

    Raises:
        LayoutError: a folder without images, or an unreadable one.
    """
    paths: list[str] = []
    counts: list[int] = []
    unread: Counter[str] = Counter()
    for folder in folders:
        found, others = images_in(folder)
        if not found:
            there = f", but {describe(others)}" if others else ""
            raise LayoutError(f"{folder} has no images ({' '.join(FORMATS)}){there}")
        paths += found
        counts.append(len(found))
        unread += others
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return ListedImages(paths, labels, unread=unread)


def images_in(folder: Path) -> tuple[list[str], Counter[str]]:
    """List the image files of a folder, if any, and count other files by suffix.

    See :func:`scan_images`, also for errors.
    """
    paths: list[str] = []
    others: Counter[str] = Counter()
    for place, inner, names in os.walk(folder, onerror=_refuse):
        # os.walk descends into the folders in this list.
        inner[:] = _visible(inner)
        for name in _visible(names):
            if name.lower().endswith(tuple(FORMATS)):
                paths.append(os.path.join(place, name))
            else:
                others[os.path.splitext(name)[1].lower()] += 1
    return sorted(paths, key=os.path.split), others


def describe(counts: Counter[str]) -> str:
    """Describe counts of suffixes, the most frequent first.

    >>> describe(Counter({".gif": 3, "": 1}))
    '3 .gif, 1 without suffix'
    """
    return ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in counts.most_common())


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _refuse(error: OSError) -> NoReturn:
    raise LayoutError(f"folder {error.filename} cannot be read: {error.strerror}") from error

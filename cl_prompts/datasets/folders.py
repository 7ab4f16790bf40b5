"""Folders of images: one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from cl_prompts.datasets.files import LayoutError

#: Suffix of image files -> format of Pillow's. Suffixes are those of torchvision's ``ImageFolder``;
#: no other format is decoded, whatever a file is called.
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

#: Names that folders of training, and of test images commonly have, in lower case
_PARTS = (("train", "training"), ("test", "testing", "val", "valid", "validation"))


@dataclass(frozen=True)
class FolderImages:
    """The image files of some folders.

    >>> FolderImages(["cat/1.png", "dog/1.png"], np.array([0, 1]), Counter()).positions.tolist()
    [0, 1]

    Args:
        paths: of the n files, by folder, then by the whole path of the folder that holds the file,
            then by name.
        positions: (n,) int64, which of the folders each file lies in.
        unread: how many files of each suffix, in lower case, are no images to us.
    """

    paths: list[str]
    positions: np.ndarray
    unread: Counter[str]


def class_folders(parent: Path, leave_out: Collection[str] = ()) -> tuple[str, ...]:
    """Names of the folders in ``parent``, sorted, without hidden ones and those to be left out.

    Raises:
        LayoutError: there are none, ``parent`` cannot be read, or two of them are the training and
            the test part of a data set by their names.
    """
    _, folders, files = next(os.walk(parent, onerror=_refuse))
    names = tuple(name for name in sorted(_visible(folders)) if name not in leave_out)
    if not names:
        images = any(name.lower().endswith(tuple(FORMATS)) for name in _visible(files))
        above = " but images itself: name the folder above, where each folder is a class"
        raise LayoutError(f"{parent} holds no class folders{above * images}")
    train, test = ([name for name in names if name.lower() in part] for part in _PARTS)
    if train and test:
        raise LayoutError(
            f"{parent} holds {train[0]!r} and {test[0]!r}, which are parts of a data set and no"
            " classes or domains: call them 'train' and 'test' (or 'val'), in lower case, and leave"
            " out test_percent"
        )
    return names


def holds_domains(parent: Path) -> bool:
    """Whether the folders in ``parent`` look like domains, with a folder in each for the same
    classes: no image lies beside these, and at least half of all classes, two or more, are in every
    domain.

    Raises:
        LayoutError: there are no folders, or one cannot be read.
    """
    classes: list[set[str]] = []
    for domain in class_folders(parent):
        _, folders, files = next(os.walk(parent / domain, onerror=_refuse))
        if any(name.lower().endswith(tuple(FORMATS)) for name in _visible(files)):
            return False
        classes.append(set(_visible(folders)))
    shared = set.intersection(*classes)
    return len(classes) > 1 and len(shared) >= max(2, len(set.union(*classes)) / 2)


def scan_images(folders: Sequence[Path]) -> FolderImages:
    """Image files below each folder, at any depth; hidden files and folders are left out.

    Files and the folders themselves may be links. Links to folders within them are not followed.

    Raises:
        LayoutError: a folder without images, or that cannot be read.
    """
    paths: list[str] = []
    counts: list[int] = []
    unread: Counter[str] = Counter()
    for folder in folders:
        found, others = images_in(folder)
        if not found:
            looked = f"looked for {' '.join(FORMATS)}"
            there = f"; there is {describe(others)}" if others else ""
            raise LayoutError(f"no images found in {folder} ({looked}{there})")
        paths += found
        counts.append(len(found))
        unread += others
    return FolderImages(paths, np.repeat(np.arange(len(counts), dtype=np.int64), counts), unread)


def images_in(folder: Path) -> tuple[list[str], Counter[str]]:
    """Image files below one folder, of which there may be none, and how many files of each suffix
    are no images to us; see :func:`scan_images`, also for errors."""
    paths: list[str] = []
    others: Counter[str] = Counter()
    for place, inner, names in os.walk(folder, onerror=_refuse):
        # os.walk goes on with what is left in its list.
        inner[:] = _visible(inner)
        for name in _visible(names):
            if name.lower().endswith(tuple(FORMATS)):
                paths.append(os.path.join(place, name))
            else:
                others[os.path.splitext(name)[1].lower()] += 1
    return sorted(paths, key=os.path.split), others


def describe(counts: Counter[str]) -> str:
    """Counts of suffixes in words, the most frequent first.

    >>> describe(Counter({".gif": 3, "": 1}))
    '3 .gif, 1 without suffix'
    """
    return ", ".join(f"{n} {suffix or 'without suffix'}" for suffix, n in counts.most_common())


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _refuse(error: OSError) -> NoReturn:
    raise LayoutError(f"folder {error.filename} cannot be read: {error.strerror}") from error

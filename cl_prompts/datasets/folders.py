"""Image folders with one folder per class."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.source import Part

#: Usual names of training and test folders, in lower case
_PARTS = (("train", "training"), ("test", "testing", "val", "valid", "validation"))


def class_folders(parent: Path, leave_out: Collection[str] = ()) -> tuple[str, ...]:
    """List the folders in ``parent``, sorted, without hidden and excluded ones.

    Raises:
        LayoutError: no folders, an unreadable ``parent``, or folders that are named like the
            training and the test part of a data set.
    """
    folders, has_images = _contents(parent)
    names = tuple(name for name in sorted(folders) if name not in leave_out)
    if not names:
        above = " but images: use its parent, with one folder per class"
        raise LayoutError(f"{parent} has no class folders{above * has_images}")
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
    found = [_contents(parent / domain) for domain in class_folders(parent)]
    if len(found) < 2 or any(has_images for _, has_images in found):
        return False
    classes = [set(folders) for folders, _ in found]
    shared = set.intersection(*classes)
    return len(shared) >= max(2, len(set.union(*classes)) / 2)


def scan_images(folders: Sequence[Path]) -> Part:
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
        found, others = _images_in(folder)
        if not found:
            there = f", but {describe(others)}" if others else ""
            raise LayoutError(f"{folder} has no images ({' '.join(IMG_EXTENSIONS)}){there}")
        paths += found
        counts.append(len(found))
        unread += others
    labels = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    return Part(paths, labels, unread=unread)


def _images_in(folder: Path) -> tuple[list[str], Counter[str]]:
    """List the image files of a folder, and count other files by suffix."""
    paths: list[str] = []
    others: Counter[str] = Counter()
    for place, inner, names in os.walk(folder, onerror=_refuse):
        # os.walk descends into the folders in this list.
        inner[:] = _visible(inner)
        for name in _visible(names):
            if _is_image(name):
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


def _contents(folder: Path) -> tuple[list[str], bool]:
    """Return the visible folders in a folder, and whether images lie beside them."""
    _, folders, files = next(os.walk(folder, onerror=_refuse))
    return _visible(folders), any(map(_is_image, _visible(files)))


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMG_EXTENSIONS)


def _visible(names: Sequence[str]) -> list[str]:
    return [name for name in names if not name.startswith(".")]


def _refuse(error: OSError) -> NoReturn:
    raise LayoutError(f"folder {error.filename} cannot be read: {error.strerror}") from error

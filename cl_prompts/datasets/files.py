"""What a folder holds: class folders, image files, text tables, and whether listed images exist."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cl_prompts.errors import InputError

#: Suffixes of image files, those of torchvision's ``ImageFolder``.
EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")


class LayoutError(InputError):
    """A folder that does not hold what its data set's layout asks for.

    The message is a clause that says what is amiss:

    >>> table(Path("missing.txt"), columns=2)
    Traceback (most recent call last):
    cl_prompts.datasets.files.LayoutError: missing.txt is missing
    """


def class_folders(parent: Path) -> tuple[str, ...]:
    """Names of the folders in ``parent``, sorted, hidden ones left out.

    Raises:
        LayoutError: there are none.
    """
    folders = (entry.name for entry in parent.iterdir() if entry.is_dir())
    names = tuple(sorted(name for name in folders if not name.startswith(".")))
    if not names:
        raise LayoutError(f"{parent} holds no class folders")
    return names


def scan_images(folders: Iterable[Path]) -> tuple[list[str], np.ndarray]:
    """Image files below each folder, sorted, and the position of the folder each lies in.

    Returns:
        n paths and (n,) int64.

    Raises:
        LayoutError: a folder without images.
    """
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
    """The first fields of each row of a text file, separated by white space.

    Args:
        path: of the file; empty lines are left out.
        columns: fields that a row must have and that are returned.
        ints: the second field must be a whole number.

    Raises:
        LayoutError: a missing or empty file, or a row with fewer fields.
    """
    if not path.is_file():
        raise LayoutError(f"{path} is missing")
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise LayoutError(f"{path} is empty")
    for number, fields in enumerate(rows, start=1):
        if len(fields) < columns or (ints and not fields[1].isdecimal()):
            raise LayoutError(
                f"row {number} of {path} is not as it should be: {' '.join(fields)!r}"
            )
    return [fields[:columns] for fields in rows]


class Folders:
    """A look-up of files that lists each folder once, when it is first asked for.

    >>> Folders().find(os.devnull) is None  # a device is no file
    True
    """

    def __init__(self) -> None:
        self._files: dict[str, dict[str, str]] = {}

    def find(self, path: str) -> str | None:
        """The real path of a file, links followed; None where there is no such file."""
        folder, name = os.path.split(path)
        if folder not in self._files:
            self._files[folder] = _files(folder)
        return self._files[folder].get(name)

    def find_all(self, paths: Sequence[str], listing: str) -> list[str]:
        """The real path of each file.

        Args:
            paths: of the files.
            listing: where they are listed, for the error message.

        Raises:
            LayoutError: some do not exist (how many, and the first).
        """
        found = [self.find(path) for path in paths]
        missing = [path for path, real in zip(paths, found, strict=True) if real is None]
        if missing:
            raise LayoutError(
                f"{listing} lists {len(missing)} images that are missing, the first is {missing[0]}"
            )
        return [real for real in found if real is not None]


def _files(folder: str) -> dict[str, str]:
    """Name and real path of each file in a folder."""
    if not os.path.isdir(folder):
        return {}
    real = os.path.realpath(folder)
    with os.scandir(folder) as entries:
        return {
            entry.name: os.path.realpath(entry.path)
            if entry.is_symlink()
            else os.path.join(real, entry.name)
            for entry in entries
            if entry.is_file()
        }


def check_apart(
    train: Sequence[object], test: Sequence[object], train_list: str, test_list: str
) -> None:
    """Refuse images that are in both the training and the test list.

    Args:
        train, test: ids or real paths of the images.
        train_list, test_list: what the error message calls the lists.

    Raises:
        InputError: how many images are in both, and the first.
    """
    both = set(train).intersection(test)
    if both:
        first = next(image for image in test if image in both)
        raise InputError(
            f"{len(both)} images are in both {train_list} and {test_list}, the first is {first}: "
            "no test image may be seen in training"
        )

"""Lists of files: text tables, and the checks of listed images: missing, double, in both parts."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

from cl_prompts.errors import InputError
from cl_prompts.reading import TABLE, opened


class LayoutError(InputError):
    """A folder that does not hold what its data set's layout asks for.

    The message is a clause that names the fault:

    >>> table(Path("missing.txt"), columns=2)
    Traceback (most recent call last):
    cl_prompts.datasets.files.LayoutError: missing.txt is missing
    """


def table(path: Path, columns: int, *, ints: bool = False) -> list[list[str]]:
    """The first ``columns`` fields, separated by white space, of each row that is not empty.

    Raises:
        LayoutError: a missing or empty file, a row with fewer fields, or with ``ints`` a second
            field that is no whole number.
    """
    with listing(path) as file:
        lines = file.read().decode(errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise LayoutError(f"{path} is empty")
    for number, fields in enumerate(rows, start=1):
        if len(fields) < columns or (ints and not fields[1].isdecimal()):
            raise LayoutError(
                f"row {number} of {path} is not as it should be: {' '.join(fields)!r}"
            )
    return [fields[:columns] for fields in rows]


def listing(path: Path) -> BufferedReader:
    """A list of images or labels, opened.

    Raises:
        LayoutError: there is no such file, or none that can be read.
    """
    try:
        return opened(path, TABLE)
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing") from error
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror}") from error


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
        """The real path of each file of a listing.

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


def check_once(images: Sequence[str], listing: str) -> None:
    """Refuse a list that names an image twice.

    Raises:
        LayoutError: the first such image.
    """
    double = [image for image, times in Counter(images).items() if times > 1]
    if double:
        raise LayoutError(
            f"{listing} lists image {double[0]} twice: give all labels of an image in one row"
        )


def check_files_apart(what: str, train: Sequence[str], test: Sequence[str]) -> None:
    """Refuse files that are both training and test images, under whatever names and links.

    Raises:
        InputError: the first such file by both its names, or one that does not exist.
    """
    if not train or not test:
        return
    known = {_identity(what, path): path for path in train}
    both = [path for path in test if _identity(what, path) in known]
    if both:
        first = known[_identity(what, both[0])]
        raise InputError(
            f"{len(both)} test images of {what} are training images too, the first is {both[0]}"
            f" (in training: {first}): no test image may be seen in training"
        )


def _identity(what: str, path: str) -> tuple[int, int]:
    """Device and number of a file, the same for all its links."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"image {path} of {what} cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino

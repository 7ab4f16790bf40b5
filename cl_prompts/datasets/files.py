"""Lists of files: text tables, and the checks of listed images: missing, double, in both parts.

Every reader of images is held to the same: :class:`Folders` finds the files of a listing, of which
none may be missing or come twice, :func:`by_key` takes each entry of a listing once, and
:func:`check_files` looks at the whole data set.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterable, Sequence
from io import BufferedReader
from pathlib import Path
from typing import TypeVar

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.reading import doubled

_NUMBER = re.compile(r"\d{1,18}")
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LayoutError(InputError):
    """A folder that does not hold what its data set's layout asks for.

    The message is a clause that names the fault:

    >>> table(Path("missing.txt"), columns=2)
    Traceback (most recent call last):
    cl_prompts.datasets.files.LayoutError: missing.txt is missing
    """


def table(path: Path, columns: int, *, ints: bool = False, unread: int = 0) -> list[list[str]]:
    """The fields, separated by white space, of each row that is not empty.

    Args:
        path: of the file.
        columns: number of fields that are read.
        ints: whether the second one is a whole number.
        unread: number of further fields that a row may have, all or none, and that are not read.

    Raises:
        LayoutError: a missing or empty file, or a row with fewer or more fields, as where a line
            break was lost, or with another second one.
    """
    with open_listing(path) as file:
        lines = file.read().decode(errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise LayoutError(f"{path} is empty")
    for number, fields in enumerate(rows, start=1):
        if len(fields) not in (columns, columns + unread) or (
            ints and not _NUMBER.fullmatch(fields[1])
        ):
            raise LayoutError(
                f"row {number} of {path} is not as it should be: {shown(' '.join(fields))}"
            )
    return [fields[:columns] for fields in rows]


def open_listing(path: Path) -> BufferedReader:
    """A list of images or labels, opened.

    Raises:
        LayoutError: there is no such file, or none that can be read.
    """
    try:
        return path.open("rb")
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
            LayoutError: some do not exist (how many, and the first), or one is listed twice, links
                followed.
        """
        found = [self.find(path) for path in paths]
        missing = [path for path, real in zip(paths, found, strict=True) if real is None]
        if missing:
            raise LayoutError(
                f"{listing} lists {len(missing)} images that are missing, the first is {missing[0]}"
            )
        files = [real for real in found if real is not None]
        check_once(files, listing)
        return files


def _files(folder: str) -> dict[str, str]:
    """Name and real path of each file in a folder."""
    if not os.path.isdir(folder):
        return {}
    # Once for the folder: only entries that are links need a look of their own.
    real = os.path.realpath(folder)
    with os.scandir(folder) as entries:
        return {
            entry.name: os.path.realpath(entry.path)
            if entry.is_symlink()
            else os.path.join(real, entry.name)
            for entry in entries
            if entry.is_file()
        }


def by_key(
    rows: Iterable[tuple[Key, Value]], listing: str, what: str = "image"
) -> dict[Key, Value]:
    """The rows of a listing by their first entries, of which each stands there once.

    >>> by_key([(1, "cat"), (1, "dog")], "labels.txt")
    Traceback (most recent call last):
    cl_prompts.datasets.files.LayoutError: labels.txt lists image 1 twice: give each once

    Raises:
        LayoutError: the first entry that comes twice.
    """
    rows = list(rows)
    check_once([key for key, _ in rows], listing, what)
    return dict(rows)


def check_once(entries: Sequence[Hashable], listing: str, what: str = "image") -> None:
    """Refuse a listing in which something stands twice, such as an image or a class.

    Raises:
        LayoutError: the first such entry.
    """
    if len(set(entries)) < len(entries):
        raise LayoutError(f"{listing} lists {what} {doubled(entries)} twice: give each once")


def check_files(what: str, train: Sequence[str], test: Sequence[str]) -> None:
    """Refuse files that come twice, in one part or in both, under whatever names and links.

    Raises:
        InputError: the first such file by both its names, or one that does not exist.
    """
    known = _once(what, "training", train)
    tested = _once(what, "test", test)
    both = [(path, known[identity]) for identity, path in tested.items() if identity in known]
    if both:
        raise InputError(
            f"{len(both)} test images of {what} are training images too, the first is {both[0][0]}"
            f" (in training: {both[0][1]}): no test image may be seen in training"
        )


def _once(what: str, part: str, paths: Sequence[str]) -> dict[tuple[int, int], str]:
    """The files of a part, of which none may come twice, by what :func:`_identity` gives."""
    found: dict[tuple[int, int], str] = {}
    for path in paths:
        identity = _identity(what, path)
        if identity in found:
            raise InputError(
                f"{part} images of {what} hold one file twice, as {found[identity]} and as {path}:"
                " each image counts once, so remove one of the two"
            )
        found[identity] = path
    return found


def _identity(what: str, path: str) -> tuple[int, int]:
    """Device and number of a file, the same for all its links."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise InputError(f"image {path} of {what} cannot be read: {error.strerror}") from error
    return status.st_dev, status.st_ino

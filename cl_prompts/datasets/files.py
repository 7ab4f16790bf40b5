"""Lists of files: text tables, and the checks of listed images: missing, double, in both parts."""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence
from pathlib import Path

from cl_prompts.checks import doubled, shown
from cl_prompts.errors import InputError


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
    lines = listing(path).decode(errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    if not rows:
        raise LayoutError(f"{path} is empty")
    for number, fields in enumerate(rows, start=1):
        if len(fields) not in (columns, columns + unread) or (ints and not fields[1].isdecimal()):
            raise LayoutError(
                f"row {number} of {path} is not as it should be: {shown(' '.join(fields))}"
            )
    return [fields[:columns] for fields in rows]


def listing(path: Path) -> bytes:
    """The bytes of a list of images or labels.

    Raises:
        LayoutError: there is no such file, or none that can be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise LayoutError(f"{path} is missing") from error
    except OSError as error:
        raise LayoutError(f"{path} cannot be read: {error.strerror}") from error


def check_listed(paths: Sequence[str], listing: str) -> None:
    """Refuse a listing whose images are not all there, or in which one stands twice.

    Raises:
        LayoutError: how many do not exist, and the first; or the first that is listed twice.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise LayoutError(
            f"{listing} lists {len(missing)} images that are missing, the first is {missing[0]}"
        )
    check_once([os.path.normpath(path) for path in paths], listing)


def check_once(entries: Sequence[Hashable], listing: str, what: str = "image") -> None:
    """Refuse a listing in which something stands twice, such as an image or a class.

    Raises:
        LayoutError: the first such entry.
    """
    if len(set(entries)) < len(entries):
        raise LayoutError(f"{listing} lists {what} {doubled(entries)} twice: give each once")

"""Lists of files: text tables, and checks for missing and repeated images."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cl_prompts.checks import doubled
from cl_prompts.errors import InputError


class LayoutError(InputError):
    """A folder that does not match its data set's layout.

    The message names the first fault.
    """


@dataclass(frozen=True)
class StoredImage:
    """An encoded image in a table of a data set, read on access.

    >>> str(StoredImage([{"image": {"bytes": b"..."}}], "image", "pets/train", 0))
    'pets/train/0'

    Args:
        table: rows of encoded images; ``table[row][column]`` has ``bytes``, or the ``path`` of a
            local file.
        column: name of the column.
        part: name of data set and split.
        row: of the table.
    """

    table: Any = field(repr=False, compare=False)
    column: str
    part: str
    row: int

    def __str__(self) -> str:
        return f"{self.part}/{self.row}"

    def read(self) -> bytes:
        """Return the encoded image.

        Raises:
            ValueError: the row has none.
            OSError: its file cannot be read.
        """
        value = self.table[self.row][self.column]
        if value is None:
            raise ValueError("the row is empty")
        content: bytes | None = value["bytes"]
        return Path(value["path"]).read_bytes() if content is None else content


#: a path, or an image within a table
ImageFile = str | StoredImage


def content_of(file: ImageFile) -> bytes:
    """Return an encoded image.

    Raises:
        ValueError, OSError: see :meth:`StoredImage.read`.
    """
    return file.read() if isinstance(file, StoredImage) else Path(file).read_bytes()


def table(path: Path) -> list[list[str]]:
    """Read the fields of each non-empty row, separated by white space."""
    lines = path.read_text("utf-8", errors="replace").splitlines()
    return [line.split() for line in lines if line.strip()]


def check_listed(paths: Sequence[str], listing: str) -> None:
    """Refuse a listing with missing or repeated images.

    Raises:
        LayoutError: names the first missing or repeated image.
    """
    missing = [path for path in paths if not os.path.isfile(path)]
    if missing:
        raise LayoutError(
            f"{listing} lists {len(missing)} missing images, the first is {missing[0]}"
        )
    twice = doubled(os.path.normpath(path) for path in paths)
    if twice is not None:
        raise LayoutError(f"{listing} lists image {twice} twice: give each once")

"""A look at image files before they are used: sizes, unreadable files and exact copies."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cl_prompts.datasets.bad_images import Progress, each_file
from cl_prompts.datasets.decoding import decode
from cl_prompts.errors import RunError


class Look(NamedTuple):
    """What one image file is.

    >>> Look("a.png", 32, 48, "f00", "").readable
    True

    Args:
        path: of the file.
        height, width: in pixels, upright; 0 where it cannot be read.
        pixels: SHA-256 of the decoded image; two files with the same one show the same.
        problem: the sentence that says why it cannot be read; empty where it can.
    """

    path: str
    height: int
    width: int
    pixels: str
    problem: str

    @property
    def readable(self) -> bool:
        """Whether it is an image."""
        return not self.problem


def look_at(paths: Sequence[str], progress: Progress | None = None) -> list[Look]:
    """Decode every file once, in several threads.

    Args:
        paths: of image files.
        progress: called with the number of files looked at so far, and of all.
    """
    return list(each_file(_look, paths, progress))


def _look(path: str) -> Look:
    try:
        image = decode(path)
    except RunError as error:
        return Look(path, 0, 0, "", str(error))
    _, height, width = image.shape
    digest = hashlib.sha256(repr((height, width)).encode())
    digest.update(image.contiguous().numpy().tobytes())
    return Look(path, height, width, digest.hexdigest(), "")


def copies(looks: Iterable[Look]) -> list[list[Look]]:
    """Readable files that show the same pixels, in groups of two and more.

    >>> looks = [Look("a", 1, 1, "x", ""), Look("b", 1, 1, "y", ""), Look("c", 1, 1, "x", "")]
    >>> (group,) = copies(looks)
    >>> [look.path for look in group]
    ['a', 'c']
    """
    groups: dict[str, list[Look]] = defaultdict(list)
    for look in looks:
        if look.readable:
            groups[look.pixels].append(look)
    return [group for group in groups.values() if len(group) > 1]

"""Image files looked at before they are used: unreadable ones, sizes and exact copies."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

from cl_prompts.checks import one_of
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.decoding import decode
from cl_prompts.errors import InputError, RunError

#: What becomes of unreadable images: refuse the data set, leave them out, or look at none.
OnBadImage = Literal["fail", "skip", "defer"]
#: called with the number of files looked at so far, and of all
Progress = Callable[[int, int], None]
Found = TypeVar("Found")

_AT_ONCE = 256  # files handed to the threads together, so that decoded images do not pile up


def check_images(data: DataSet, progress: Progress | None = None) -> dict[str, str]:
    """Open and decode every image file of a data set, in several threads.

    Takes about as long as one pass over the images without training. Images that do not come from
    files are not looked at.

    Returns:
        each file that cannot be used, training images first -> the sentence that says why.
    """
    problems = _each_file(_problem, data.files, progress)
    return {path: problem for path, problem in zip(data.files, problems, strict=True) if problem}


def _problem(path: str) -> str:
    try:
        decode(path)
    except RunError as error:
        return str(error)
    return ""


def _each_file(
    function: Callable[[str], Found], paths: Sequence[str], progress: Progress | None
) -> Iterator[Found]:
    """Results of a function for each file, in their order, computed in several threads."""
    # Threads, since Pillow decodes without holding Python's lock.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            yield from threads.map(function, some)
            if progress is not None:
                progress(start + len(some), len(paths))


def handle_bad_images(data: DataSet, bad: Mapping[str, str], on_bad_image: OnBadImage) -> DataSet:
    """The data set that may be used, given the result of :func:`check_images`.

    "fail" refuses a data set with unreadable images, "skip" leaves them out, of training and test
    set; "defer" leaves the data set as it is, so that one is an error when it is met.

    Raises:
        InputError: "fail" and an unreadable image, or "skip" and a class left without images.
    """
    one_of("on_bad_image", on_bad_image, OnBadImage)
    if not bad or on_bad_image == "defer":
        return data
    if on_bad_image == "skip":
        return data.without(bad)
    first, *others = bad.values()
    more = f"; {len(others)} more cannot be read either" if others else ""
    raise InputError(
        f"{first}{more}: repair data set {data.name!r}, or leave such images out with"
        " on_bad_image=skip"
    )


class Look(NamedTuple):
    """One image file: its size and contents, or why it cannot be read.

    >>> Look("a.png", 32, 48, "f00", "").readable
    True

    Args:
        path: of the file.
        height, width: in pixels, upright; 0 where it cannot be read.
        pixels: SHA-256 of the decoded image; two files with the same one show the same.
        problem: the sentence that says why it cannot be read; empty where it can.
        colour: mean difference of its pixels' strongest and weakest channel, 0 to 255.
    """

    path: str
    height: int
    width: int
    pixels: str
    problem: str
    colour: float = 0.0

    @property
    def readable(self) -> bool:
        """Whether it is an image."""
        return not self.problem


def look_at(paths: Sequence[str], progress: Progress | None = None) -> list[Look]:
    """Decode every image file once, in several threads."""
    return list(_each_file(_look, paths, progress))


def _look(path: str) -> Look:
    try:
        image = decode(path)
    except RunError as error:
        return Look(path, 0, 0, "", str(error))
    _, height, width = image.shape
    # The size as well, since the same bytes fit other shapes, too.
    digest = hashlib.sha256(repr((height, width)).encode())
    digest.update(image.contiguous().numpy().tobytes())
    # Some hundred rows and columns tell as much of a large image.
    some = image[:, :: 1 + height // 128, :: 1 + width // 128].float()
    colour = (some.amax(dim=0) - some.amin(dim=0)).mean().item()
    return Look(path, height, width, digest.hexdigest(), "", colour)


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

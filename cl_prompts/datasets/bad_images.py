"""Images that cannot be read: found before training, and refused or left out."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, TypeVar

from cl_prompts.checks import one_of
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.decoding import decode
from cl_prompts.errors import InputError, RunError

#: What becomes of unreadable images: refuse the data set, leave them out, or look at none.
OnBadImage = Literal["fail", "skip", "defer"]
Progress = Callable[[int, int], None]
Found = TypeVar("Found")

_AT_ONCE = 256  # files handed to the threads together, so that decoded images do not pile up


class BadImage(NamedTuple):
    """An image file that cannot be used.

    >>> BadImage("a.png", "image a.png cannot be read: it is a FIFO, not a file").path
    'a.png'

    Args:
        path: of the file.
        reason: the sentence that names it and says what is amiss.
    """

    path: str
    reason: str


def check_images(data: DataSet, progress: Progress | None = None) -> list[BadImage]:
    """Open and decode every image file of a data set, in several threads.

    Takes about as long as one pass over the images without training. Images that do not come from
    files are not looked at.

    Args:
        data: what to check.
        progress: called with the number of files looked at so far, and of all.

    Returns:
        the files that cannot be used, in the order of training images, then test images.
    """
    files = (*data.train.files, *data.test.files)
    return [found for found in each_file(_look_at, files, progress) if found is not None]


def each_file(
    function: Callable[[str], Found], paths: Sequence[str], progress: Progress | None = None
) -> Iterator[Found]:
    """What a function makes of each file, in their order, computed in several threads.

    Args:
        function: what to do with a path.
        paths: of the files.
        progress: called with the number of files done so far, and of all.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for start in range(0, len(paths), _AT_ONCE):
            some = paths[start : start + _AT_ONCE]
            yield from threads.map(function, some)
            if progress is not None:
                progress(start + len(some), len(paths))


def _look_at(path: str) -> BadImage | None:
    try:
        decode(path)
    except RunError as error:
        return BadImage(path, str(error))
    return None


def handle_bad_images(data: DataSet, bad: Sequence[BadImage], on_bad_image: OnBadImage) -> DataSet:
    """The data set that may be used, given what :func:`check_images` found.

    Args:
        data: what was checked.
        bad: what was found.
        on_bad_image: "fail" refuses a data set with unreadable images, "skip" leaves them out, of
            training and test set; "defer" leaves the data set as it is, so that an unreadable
            image is an error when it is met.

    Raises:
        InputError: "fail" and an unreadable image, or "skip" and a class left without images.
    """
    one_of("on_bad_image", on_bad_image, OnBadImage)
    if not bad or on_bad_image == "defer":
        return data
    if on_bad_image == "skip":
        return data.without([image.path for image in bad])
    more = f"; {len(bad) - 1} more cannot be read either" if len(bad) > 1 else ""
    raise InputError(
        f"{bad[0].reason}{more}: repair data set {data.name!r}, or leave such images out with"
        " on_bad_image=skip"
    )

"""Checks of image files: unreadable files, sizes and pixels."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple

from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import pixels_hash
from cl_prompts.errors import InputError, RunError

#: Policy for unreadable images: refuse the data set, skip the images, or do not check.
OnBadImage = Literal["fail", "skip", "defer"]
#: called with the number of checked files and of all files
Progress = Callable[[int, int], None]


def check_images(data: DataSet, progress: Progress | None = None) -> dict[ImageFile, str]:
    """Decode every image file of a data set, in several threads.

    This takes about as long as one epoch without training.

    Returns:
        unreadable file -> error message, training images first.
    """
    return {look.path: look.problem for look in look_at(data.files, progress) if look.problem}


def handle_bad_images(
    data: DataSet, bad: Mapping[ImageFile, str], on_bad_image: OnBadImage
) -> DataSet:
    """Return the data set without unreadable images, given the result of :func:`check_images`.

    Args:
        data: the data set.
        bad: unreadable file -> error message.
        on_bad_image: "fail" refuses unreadable images, "skip" removes them from the training and
            the test set, "defer" returns the data set unchanged.

    Raises:
        InputError: "fail" and an unreadable image, or "skip" and a class without images.
    """
    if not bad or on_bad_image == "defer":
        return data
    if on_bad_image == "skip":
        return data.without(bad)
    first, *others = bad.values()
    more = f" ({len(others)} more are unreadable)" if others else ""
    raise InputError(
        f"{first}{more}. Repair data set {data.name!r}, or skip such images with on_bad_image=skip"
    )


class Look(NamedTuple):
    """Size and contents of an image file, or the error of an unreadable one.

    >>> Look("a.png", 0, 0, "", "image a.png cannot be read").colour
    0.0

    Args:
        path: of the file.
        height, width: in pixels, upright; 0 for an unreadable file.
        pixels: SHA-256 of the decoded image; copies share it.
        problem: error message of an unreadable file, else empty.
        colour: mean difference of the strongest and the weakest channel of its pixels, 0 to 255.
    """

    path: ImageFile
    height: int
    width: int
    pixels: str
    problem: str
    colour: float = 0.0


def look_at(paths: Sequence[ImageFile], progress: Progress | None = None) -> list[Look]:
    """Decode every image file once, in several threads."""
    looks: list[Look] = []
    # Pillow releases Python's lock while it decodes.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for look in threads.map(_look, paths):
            looks.append(look)
            if progress is not None:
                progress(len(looks), len(paths))
    return looks


def _look(path: ImageFile) -> Look:
    try:
        image = decode(path)
    except RunError as error:
        return Look(path, 0, 0, "", str(error))
    _, height, width = image.shape
    # Of a large image, at most 255 rows and columns suffice.
    some = image[:, :: 1 + height // 128, :: 1 + width // 128].float()
    colour = (some.amax(dim=0) - some.amin(dim=0)).mean().item()
    return Look(path, height, width, pixels_hash(image), "", colour)

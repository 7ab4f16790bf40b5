"""Fingerprints of data sets, which detect changes of images and labels."""

import hashlib
import os
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.datasets.files import ImageFile, StoredImage, content_of
from cl_prompts.errors import InputError

#: Bytes of a part (training or test images) up to which all contents are hashed.
SMALL = 2**28
#: Images of a larger part whose contents are hashed.
SAMPLED = 32
#: SHA-256 of image files
Hashed = dict[ImageFile, str]

Fingerprint = dict[str, int | str | None]

_WORDS = {
    "classes": "its classes changed",
    "images": "it has {now} {part} images, and had {before}",
    "labels": "labels of {part} images changed",
    "files": "names, order or sizes of {part} image files changed",
    "contents": "contents of {part} images changed",
}


def labels_fingerprint(
    targets: np.ndarray, ignored: np.ndarray | None = None, domains: np.ndarray | None = None
) -> str:
    """Hash labels, (n,) or (n, C), with ignored pairs (n, C) bool and domains (n,), by SHA-256."""
    digest = hashlib.sha256(repr(targets.shape).encode())
    # One byte order for all machines.
    digest.update(np.ascontiguousarray(targets, dtype="<i8").tobytes())
    if ignored is not None:
        digest.update(np.packbits(ignored).tobytes())
    if domains is not None:
        digest.update("\0".join(map(str, domains.tolist())).encode())
    return digest.hexdigest()


def listing(files: Sequence[ImageFile]) -> tuple[str | None, float]:
    """Identify image files by name and size, independently of the place of their common folder.

    Returns:
        SHA-256 of names within the common folder and of sizes, in order (None for images in a
        table), and the size of all, which is estimated for a table.
    """
    stored = [file for file in files if isinstance(file, StoredImage)]
    if stored:
        sampled = [len(stored[place].read()) for place in sampled_places(len(stored))]
        return None, len(stored) * sum(sampled) / len(sampled)
    paths = [os.path.abspath(str(file)) for file in files]
    above = os.path.commonpath([os.path.dirname(path) for path in paths])
    names = "\0".join(os.path.relpath(path, above).replace(os.sep, "/") for path in paths)
    sizes = [os.path.getsize(path) for path in paths]
    # File names may not be UTF-8.
    listed = f"{names} {sizes}".encode(errors="surrogateescape")
    return hashlib.sha256(listed).hexdigest(), sum(sizes)


def file_hash(path: ImageFile) -> str:
    """Return the SHA-256 of an encoded image.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return hashlib.sha256(content_of(path)).hexdigest()
    except (OSError, ValueError) as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def pixels_hash(image: Tensor) -> str:
    """SHA-256 of an image's height, width and pixels (channels, height, width)."""
    # The size as well, since the same bytes fit other shapes, too.
    digest = hashlib.sha256(repr(tuple(image.shape[-2:])).encode())
    digest.update(image.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def sampled_places(n: int) -> list[int]:
    """Return up to ``SAMPLED`` evenly spaced positions of n, from the first to the last.

    >>> sampled_places(3), sampled_places(1000)[:3], sampled_places(1000)[-1]
    ([0, 1, 2], [0, 32, 64], 999)
    """
    return sorted({round(place) for place in np.linspace(0, n - 1, min(n, SAMPLED))})


def fingerprint_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Describe the first difference of two fingerprints; None if they are equal.

    The name of the data set does not count.

    >>> part = {"images": 3, "labels": "a", "files": None, "contents": 1}
    >>> before = {"classes": "c", "training": part, "test": part}
    >>> fingerprint_change(before, {**before, "training": {**part, "images": 2}})
    'it has 2 training images, and had 3'
    """
    if before["classes"] != now["classes"]:
        return _WORDS["classes"]
    for part in ("training", "test"):
        for key, words in _WORDS.items():
            old = before[part].get(key)
            new = now[part].get(key)
            if old != new:
                return words.format(part=part, before=old, now=new)
    return None


def check_files(what: str, train: Sequence[ImageFile], test: Sequence[ImageFile]) -> None:
    """Refuse a file that occurs twice, in one part or both, under any name or link.

    Raises:
        InputError: names the first such file, or a missing file.
    """
    inodes = []
    for part, files in (("training", train), ("test", test)):
        found: dict[tuple[int, int], ImageFile] = {}
        for file in files:
            if isinstance(file, StoredImage):
                continue  # a row comes once
            status = os.stat(file)
            first = found.setdefault((status.st_dev, status.st_ino), file)
            if first is not file:
                raise InputError(
                    f"{part} images of {what} have one file twice, as {first} and {file}: remove"
                    " one"
                )
        inodes.append({file: inode for inode, file in found.items()})
    check_apart(what, *inodes)


def check_apart(
    what: str, train: Mapping[ImageFile, Hashable], test: Mapping[ImageFile, Hashable]
) -> None:
    """Refuse an image that is in both parts.

    Args:
        what: the data set.
        train, test: files, each with the inode or hash that identifies its image.

    Raises:
        InputError: names the first such image.
    """
    known = {image: path for path, image in reversed([*train.items()])}
    both = [(path, known[image]) for path, image in test.items() if image in known]
    if both:
        raise InputError(
            f"{len(both)} test images of {what} are also training images, the first is"
            f" {both[0][0]} (in training: {both[0][1]}): remove them from one part"
        )

"""Fingerprints of data sets, which detect changes of images and labels."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_prompts.checks import sha256
from cl_prompts.datasets.files import ImageFile, StoredImage
from cl_prompts.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cl_prompts.datasets.images import Images

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


def files_fingerprint(paths: Sequence[ImageFile], hashed: Hashed) -> Fingerprint:
    """Identify image files, independently of the place of their common folder.

    Args:
        paths: in the order of the images.
        hashed: receives the files whose contents are hashed.

    Returns:
        ``files`` (SHA-256 of names within the common folder and of sizes, in order; None for images
        in a table), and ``contents`` (SHA-256; above ``SMALL`` bytes of ``SAMPLED`` evenly spaced
        files).

    Raises:
        InputError: names an unreadable file.
    """
    stored = [path for path in paths if isinstance(path, StoredImage)]
    if stored:
        sampled = [stored[place] for place in sampled_places(len(stored))]
        # Above ``SMALL`` bytes, as estimated, only the sampled ones.
        size = np.mean([len(image.read()) for image in sampled]) * len(stored)
        return {"files": None, "contents": _contents(stored if size <= SMALL else sampled, hashed)}
    files = list(map(str, paths))
    above = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in files])
    names = "\0".join(os.path.relpath(path, above).replace(os.sep, "/") for path in files)
    sizes = [os.path.getsize(path) for path in files]
    all_of_them = sum(sizes) <= SMALL
    read = files if all_of_them else [files[place] for place in sampled_places(len(files))]
    # File names may not be UTF-8.
    listed = hashlib.sha256(f"{names} {sizes}".encode(errors="surrogateescape")).hexdigest()
    return {"files": listed, "contents": _contents(read, hashed)}


def _contents(paths: Sequence[ImageFile], hashed: Hashed) -> str:
    """Hash the SHA-256 of each file, so that the borders of files count."""
    digest = hashlib.sha256()
    for path in paths:
        hashed[path] = file_hash(path)
        digest.update(bytes.fromhex(hashed[path]))
    return digest.hexdigest()


def file_hash(path: ImageFile) -> str:
    """Return the SHA-256 of an encoded image.

    Raises:
        InputError: it cannot be read.
    """
    try:
        if isinstance(path, StoredImage):
            return hashlib.sha256(path.read()).hexdigest()
        return sha256(path)
    except (OSError, ValueError) as error:
        raise InputError(f"image {path} cannot be read: {error}") from error


def tensor_fingerprint(images: Tensor, rows: np.ndarray) -> Fingerprint:
    """Identify these rows of images in memory (n, 3, height, width); see
    :func:`files_fingerprint`."""
    size = len(rows) * images[0].numel() * images.element_size() if len(images) else 0
    read = rows if size <= SMALL else rows[sampled_places(len(rows))]
    digest = hashlib.sha256(repr((tuple(images.shape[1:]), images.dtype)).encode())
    # A thousand at a time, to bound memory.
    for start in range(0, len(read), 1000):
        some = images[read[start : start + 1000].tolist()]
        digest.update(some.contiguous().cpu().numpy().tobytes())
    return {"files": None, "contents": digest.hexdigest()}


def sampled_fingerprint(images: Images, rows: np.ndarray) -> Fingerprint:
    """Identify the images of a user's data set by ``SAMPLED`` evenly spaced ones.

    They are read with fixed random numbers; the global generators of torch, numpy and Python are
    restored afterwards. A data set's own generators do advance.
    """
    import torch  # comparing fingerprints does not need it

    from cl_prompts.datasets.collate import viewing

    digest = hashlib.sha256()
    # One key, so that augmented images are the same each time.
    with all_seeded(), viewing(0):
        for row in rows[sampled_places(len(rows))].tolist():
            image = torch.as_tensor(images[row]).detach().cpu().contiguous()
            digest.update(repr((tuple(image.shape), str(image.dtype))).encode())
            digest.update(image.reshape(-1).view(torch.uint8).numpy().data)
    return {"files": None, "contents": digest.hexdigest()}


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


@contextmanager
def all_seeded(seed: int = 0) -> Iterator[None]:
    """Seed the global generators of torch, numpy and Python, and restore them afterwards."""
    from cl_prompts.seeds import seed_globals, seeded

    before = (random.getstate(), np.random.get_state())
    try:
        with seeded(seed):
            seed_globals(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


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
    check_apart(what, _once(what, "training", train), _once(what, "test", test))


def check_apart(what: str, train: Mapping[ImageFile, Any], test: Mapping[ImageFile, Any]) -> None:
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


def _once(what: str, part: str, paths: Sequence[ImageFile]) -> dict[ImageFile, tuple[int, int]]:
    """Return device and inode of the files of a part; all links to a file share them."""
    found: dict[tuple[int, int], str] = {}
    for path in paths:
        if isinstance(path, StoredImage):
            continue  # a row comes once
        status = os.stat(path)
        identity = (status.st_dev, status.st_ino)
        if identity in found:
            raise InputError(
                f"{part} images of {what} have one file twice, as {found[identity]} and {path}:"
                " remove one"
            )
        found[identity] = path
    return {path: identity for identity, path in found.items()}

"""Fingerprints of data sets: has anything changed since a run began?"""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from cl_prompts.datasets.images import Images

#: Bytes up to which the contents of a part, training or test images, are hashed.
SMALL = 2**28
#: Images of a part whose contents are hashed where all of them would be too many.
SAMPLED = 32

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
    """SHA-256 of labels, (n,) or zeros and ones (n, C), with their shape, of the pairs that
    average precision leaves out, (n, C) bool, and of domains, (n,)."""
    digest = hashlib.sha256(repr(targets.shape).encode())
    # In one byte order, so that machines agree.
    digest.update(np.ascontiguousarray(targets, dtype="<i8").tobytes())
    if ignored is not None:
        digest.update(np.packbits(ignored).tobytes())
    if domains is not None:
        digest.update("\0".join(map(str, domains.tolist())).encode())
    return digest.hexdigest()


def files_fingerprint(paths: Sequence[str]) -> dict[str, Any]:
    """Identity of image files, wherever their common folder lies.

    Args:
        paths: in the order of the images.

    Returns:
        ``files`` (SHA-256 of names within the common folder and sizes, in order), and ``contents``
        (SHA-256); where there are more than ``SMALL`` bytes, of ``SAMPLED`` files at evenly spaced
        places.

    Raises:
        InputError: names a file that cannot be read.
    """
    above = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = "\0".join(os.path.relpath(path, above).replace(os.sep, "/") for path in paths)
    try:
        sizes = [os.path.getsize(path) for path in paths]
        all_of_them = sum(sizes) <= SMALL
        read = paths if all_of_them else [paths[place] for place in sampled_places(len(paths))]
        contents = _contents(read)
    except OSError as error:
        raise InputError(f"image {error.filename} cannot be read: {error.strerror}") from error
    # Names of files need not be UTF-8.
    files = hashlib.sha256(f"{names} {sizes}".encode(errors="surrogateescape")).hexdigest()
    return {"files": files, "contents": contents}


def _contents(paths: Sequence[str]) -> str:
    """SHA-256 of the files' own SHA-256, so that no byte can move from one file to the next."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(bytes.fromhex(sha256(path)))
    return digest.hexdigest()


def tensor_fingerprint(images: Tensor, rows: np.ndarray) -> dict[str, Any]:
    """Identity of images in memory (n, 3, height, width), of which these rows count in their order;
    as :func:`files_fingerprint`, without names."""
    size = len(rows) * images[0].numel() * images.element_size() if len(images) else 0
    read = rows if size <= SMALL else rows[sampled_places(len(rows))]
    digest = hashlib.sha256(repr((tuple(images.shape[1:]), images.dtype)).encode())
    # A thousand at a time: a copy of all might not fit into memory.
    for start in range(0, len(read), 1000):
        some = images[read[start : start + 1000].tolist()]
        digest.update(some.contiguous().cpu().numpy().tobytes())
    return {"files": None, "contents": digest.hexdigest()}


def sampled_fingerprint(images: Images, rows: np.ndarray) -> dict[str, Any]:
    """Identity of images that are only there when a user's data set makes them, by the contents of
    ``SAMPLED`` of them at evenly spaced places, read under the same random numbers each time.

    The global generators of torch, numpy and Python are left as they were. What a data set draws
    from a generator of its own is drawn.
    """
    some = rows[sampled_places(len(rows))].tolist()
    return {"files": None, "contents": _read_contents(images, some)}


def sampled_places(n: int) -> list[int]:
    """Up to ``SAMPLED`` places of n, evenly spaced, with the first and the last.

    >>> sampled_places(3), sampled_places(1000)[:3], sampled_places(1000)[-1]
    ([0, 1, 2], [0, 32, 64], 999)
    """
    return sorted({round(place) for place in np.linspace(0, n - 1, min(n, SAMPLED))})


def _read_contents(images: Images, rows: Sequence[int]) -> str:
    # Here, since comparing fingerprints takes no torch.
    import torch

    from cl_prompts.datasets.transforms import viewing

    digest = hashlib.sha256()
    # Under one key, so that augmented images are the same at each look.
    with all_seeded(), viewing(0):
        for row in rows:
            image = torch.as_tensor(images[row]).detach().cpu().contiguous()
            digest.update(repr((tuple(image.shape), str(image.dtype))).encode())
            digest.update(image.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


@contextmanager
def all_seeded(seed: int = 0) -> Iterator[None]:
    """Draw from the global generators of torch, numpy and Python as if they were just seeded;
    restore them afterwards."""
    from cl_prompts.training.seeds import seed_globals, seeded

    before = (random.getstate(), np.random.get_state())
    try:
        with seeded(seed):
            seed_globals(seed)
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])


def fingerprint_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first change between two fingerprints, in words; None where they agree.

    The name of the data set does not count, since the same images may go by another.

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
    """The files of a part, of which none may come twice, by device and number: those of all links
    to a file are the same."""
    found: dict[tuple[int, int], str] = {}
    for path in paths:
        try:
            status = os.stat(path)
        except OSError as error:
            raise InputError(f"image {path} of {what} cannot be read: {error.strerror}") from error
        identity = (status.st_dev, status.st_ino)
        if identity in found:
            raise InputError(
                f"{part} images of {what} hold one file twice, as {found[identity]} and as {path}:"
                " each image counts once, so remove one of the two"
            )
        found[identity] = path
    return found

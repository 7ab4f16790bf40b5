"""Fingerprints of data sets: has anything changed since a run began?"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.reading import TENSORS, opened

#: Bytes up to which the contents of a part, training or test images, are hashed.
SMALL = 2**28

_WORDS = {
    "classes": "its classes changed",
    "images": "it has {now} {part} images, and had {before}",
    "labels": "labels of {part} images changed",
    "names": "names or order of {part} image files changed",
    "bytes": "sizes of {part} images changed: {now} bytes in all, and {before} before",
    "sizes": "sizes of {part} image files changed",
    "contents": "contents of {part} images changed",
}


def labels_fingerprint(
    targets: np.ndarray, ignored: np.ndarray | None = None, domains: np.ndarray | None = None
) -> str:
    """SHA-256 of labels, (n,) or zeros and ones (n, C), with their shape, of the pairs that
    average precision leaves out, (n, C) bool, and of domains, (n,)."""
    digest = hashlib.sha256(repr(targets.shape).encode())
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
        ``names`` (SHA-256 of names within the common folder, in order), ``sizes`` (SHA-256),
        ``bytes`` (in all), and ``contents`` (SHA-256), None where there are more than ``SMALL``
        bytes.

    Raises:
        InputError: names a file that cannot be read.
    """
    above = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in paths])
    names = "\0".join(os.path.relpath(path, above).replace(os.sep, "/") for path in paths)
    contents = None
    try:
        sizes = [os.path.getsize(path) for path in paths]
        if sum(sizes) <= SMALL:
            contents = _contents(paths)
    except OSError as error:
        raise InputError(f"image {error.filename} cannot be read: {error.strerror}") from error
    return {
        "names": hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest(),
        "sizes": hashlib.sha256(repr(sizes).encode()).hexdigest(),
        "bytes": sum(sizes),
        "contents": contents,
    }


def _contents(paths: Sequence[str]) -> str:
    """SHA-256 of the files' own SHA-256, so that no byte can move from one file to the next."""
    digest = hashlib.sha256()
    for path in paths:
        with opened(path, TENSORS) as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def tensor_fingerprint(images: Tensor, rows: np.ndarray) -> dict[str, Any]:
    """Identity of images in memory (n, 3, height, width), of which these rows count in their order;
    as :func:`files_fingerprint`, without names."""
    size = len(rows) * images[0].numel() * images.element_size() if len(images) else 0
    contents = None
    if size <= SMALL:
        digest = hashlib.sha256(repr((tuple(images.shape[1:]), images.dtype)).encode())
        for start in range(0, len(rows), 1000):
            some = images[rows[start : start + 1000].tolist()]
            digest.update(some.contiguous().cpu().numpy().tobytes())
        contents = digest.hexdigest()
    return {"names": None, "sizes": None, "bytes": size, "contents": contents}


#: Of images that are only there when a user's data set makes them.
UNKNOWN: dict[str, Any] = {"names": None, "sizes": None, "bytes": None, "contents": None}


def fingerprint_change(before: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """The first change between two fingerprints, in words; None where they agree.

    The name of the data set does not count, since the same images may go by another.

    >>> part = {"images": 3, "labels": "a", "names": None, "bytes": 9, "sizes": None, "contents": 1}
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

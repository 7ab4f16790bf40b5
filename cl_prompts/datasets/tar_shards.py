"""WebDataset shards: tar files whose images are read at random, by their offsets.

Files of one name belong together: ``00/7.jpg`` is the image and ``00/7.cls`` its label. Pickles are
never read.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.files import LayoutError, StoredImage
from cl_prompts.datasets.folders import FORMATS
from cl_prompts.datasets.images import FileImages, ImageCache
from cl_prompts.datasets.readers import Source


@dataclass(frozen=True)
class Shard:
    """A tar file as a table of encoded images, for :class:`StoredImage`.

    Attributes:
        path: of an uncompressed tar file.
        places: offset and size of each image.

    Example:
        >>> Shard(Path("train-0.tar"), [(512, 100)]).places
        [(512, 100)]
    """

    path: Path
    places: Sequence[tuple[int, int]]

    def __getitem__(self, row: int) -> dict[str, dict[str, bytes]]:
        offset, size = self.places[row]
        with self.path.open("rb") as file:
            file.seek(offset)
            return {"image": {"bytes": file.read(size)}}


def read_tar_shards(folder: Path, cache: ImageCache | None) -> Source:
    """Read ``train*.tar`` and ``test*.tar``: labels once, and images on access.

    A label is the text of a ``.cls`` file, or the entry ``label`` of a ``.json`` file. The classes
    are the labels of both parts, sorted; whole numbers by their value.

    Raises:
        LayoutError: no or damaged shards, or an image without one label.
    """
    parts = [_part(folder, name) for name in ("train", "test")]
    names = {text for _, labels in parts for text in labels}
    classes = sorted(names, key=int if all(map(str.isdecimal, names)) else str)
    column = {name: place for place, name in enumerate(classes)}
    (train, targets), (test, test_targets) = (
        (FileImages(images, cache=cache), np.array([column[text] for text in labels]))
        for images, labels in parts
    )
    return Source(train, targets, test, test_targets, tuple(classes))


def _part(folder: Path, name: str) -> tuple[list[StoredImage], list[str]]:
    shards = sorted(folder.glob(f"{name}*.tar"))
    if not shards:
        raise LayoutError(f"{folder} has no {name}*.tar")
    images, labels = [], []
    for path in shards:
        places, own = _listed(path)
        table = Shard(path, places)
        images += [StoredImage(table, "image", str(path), row) for row in range(len(places))]
        labels += own
    return images, labels


def _listed(path: Path) -> tuple[list[tuple[int, int]], list[str]]:
    """Places and labels of the images of a shard, in their order."""
    places: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:") as tar:  # without compression
            for member in filter(tarfile.TarInfo.isfile, tar):
                suffix = member.name.rpartition("/")[2].partition(".")[2]
                key = member.name.removesuffix(f".{suffix}")
                if f".{suffix.lower()}" in FORMATS:
                    places[key] = (member.offset_data, member.size)
                elif suffix in ("cls", "json"):
                    content: Any = tar.extractfile(member)
                    text = content.read().decode()
                    labels[key] = (
                        text.strip() if suffix == "cls" else str(json.loads(text)["label"])
                    )
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise LayoutError(f"{path} is not a plain tar file with labels: {error!r}") from error
    missing = [key for key in places if not labels.get(key)]
    if missing or not places:
        raise LayoutError(f"{path} has no {'label for ' + missing[0] if missing else 'images'}")
    return list(places.values()), [labels[key] for key in places]

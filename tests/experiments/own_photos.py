"""Folders of small images that look like a user's own."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image


def photo(path: Path, seed: int, size: tuple[int, int] = (10, 8), *, colour: bool = False) -> Path:
    """Write an image of noise, (width, height), the same for the same seed; in grey, for which the
    embedded backbone is proposed, or in colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    if not colour:
        pixels[:] = pixels[:, :, :1]
    Image.fromarray(pixels).save(path)
    return path


def photos(root: Path, counts: Mapping[str, int], first: int = 0) -> Path:
    """Write so many different images of each class, ``root/<class>/*``."""
    for number, (name, count) in enumerate(counts.items()):
        for i in range(count):
            photo(root / name / f"{i:03d}.png", first + 1000 * number + i)
    return root

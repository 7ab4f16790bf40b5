"""The embedded default data set: scikit-learn's handwritten digits, real images, no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import Tensor

from cl_prompts.datasets.readers import Source


def digits_images(size: int = 32) -> tuple[Tensor, np.ndarray]:
    """All 1797 digits of the UCI test set as RGB images, light ink on a dark ground.

    Args:
        size: side in pixels; the 8x8 originals are enlarged bilinearly.

    Returns:
        images (1797, 3, size, size) uint8 and labels (1797,) int64.
    """
    raw = load_digits()
    grey = torch.from_numpy(raw.images).float()[:, None] / 16  # (1797, 1, 8, 8) in [0, 1]
    large = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    return images, raw.target.astype(np.int64)


def digits_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows: every fifth image of each class, in the set's order, is a test image.

    Neighbouring images come from the same writers, so the test set is not writer-disjoint, as in
    most uses of this set.
    """
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    is_test = rank % 5 == 4
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def read_digits(folder: Path, cache: int | None) -> Source:
    """The embedded digits as a :class:`Source`; both arguments are without effect."""
    images, labels = digits_images()
    train, test = digits_split(labels)
    return Source(
        images[torch.from_numpy(train)],
        labels[train],
        images[torch.from_numpy(test)],
        labels[test],
        tuple("0123456789"),
    )

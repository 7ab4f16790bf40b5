"""Images without a test part, divided by a seeded share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cl_prompts.checks import whole_number
from cl_prompts.errors import InputError


def check_share(test_percent: float) -> None:
    """Refuse a share that leaves no training or no test images.

    Raises:
        InputError: not between 0 and 100.
    """
    if isinstance(test_percent, bool) or not 0 < test_percent < 100:
        raise InputError(f"test_percent is {test_percent}: it must lie between 0 and 100")


def split_rows(
    targets: np.ndarray, test_percent: float, seed: int, classes: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training and of test images, both ascending.

    With one label per image the share is taken of each class, rounded, at least one image and never
    all. With several it is taken of all images; then every class that is missing on one side gets
    its first image from the other.

    >>> train, test = split_rows(np.array([0, 0, 0, 0, 1, 1]), 25, 0, ("cat", "dog"))
    >>> len(train), len(test)
    (4, 2)

    Args:
        targets: labels (n,), or zeros and ones (n, C).
        test_percent: percent of the images that become test images.
        seed: of the choice.
        classes: names, for messages.

    Raises:
        InputError: a bad share or seed, or a class with a single image.
    """
    check_share(test_percent)
    whole_number("split_seed", seed, 0)
    rng = np.random.default_rng(seed)
    several = targets.ndim == 2
    counts = targets.sum(axis=0) if several else np.bincount(targets, minlength=len(classes))
    for name, count in zip(classes, counts.tolist(), strict=True):
        if count < 2:
            raise InputError(
                f"class {name!r} has {count} image: two are needed, one to train and one to test"
            )
    chosen = np.zeros(len(targets), dtype=bool)
    if several:
        n_test = min(max(1, round(len(targets) * test_percent / 100)), len(targets) - 1)
        chosen[rng.permutation(len(targets))[:n_test]] = True
        _complete(targets.astype(bool), chosen)
    else:
        for label, count in enumerate(counts.tolist()):
            n_test = min(max(1, round(count * test_percent / 100)), count - 1)
            chosen[rng.permutation(np.flatnonzero(targets == label))[:n_test]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)


def _complete(targets: np.ndarray, chosen: np.ndarray) -> None:
    """Move images until every class is on both sides, or give up where labels exclude that."""
    for side in (True, False):
        for label in np.flatnonzero(~targets[chosen == side].any(axis=0)):
            chosen[np.flatnonzero(targets[:, label])[0]] = side

"""Intervals of shares, such as accuracies."""

import math

_Z = 1.959964  # of a 95 % interval


def change_interval(before: float, after: float, n: int) -> tuple[float, float]:
    """Return the ends of the 95 % interval of a change of shares of n images, by Newcombe
    (Statistics in Medicine, 1998, method 10). It treats both shares as independent, so it is too
    wide rather than too narrow.

    >>> [round(end, 2) for end in change_interval(0.75, 0.875, 24)]
    [-0.1, 0.34]
    """
    low, high = wilson(before, n)
    low_after, high_after = wilson(after, n)
    return (
        after - before - math.hypot(after - low_after, high - before),
        after - before + math.hypot(high_after - after, before - low),
    )


def wilson(share: float, n: int) -> tuple[float, float]:
    """Ends of Wilson's 95 % interval (JASA 1927) of a share of n images.

    >>> [round(end, 3) for end in wilson(0.5, 100)]
    [0.404, 0.596]
    """
    scale = 1 + _Z**2 / n
    middle = (share + _Z**2 / (2 * n)) / scale
    half = _Z / scale * math.sqrt(share * (1 - share) / n + (_Z / n) ** 2 / 4)
    return max(0.0, middle - half), min(1.0, middle + half)

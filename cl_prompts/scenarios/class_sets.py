"""Sets of classes that take no memory of their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Any

import numpy as np


class ClassSet(Set[int]):
    """A set of classes, given by bounds on an array that many such sets share.

    It compares and combines with Python's sets. A thousand experiences of ten thousand classes
    would take 1.5 GB as sets of integers.

    Args:
        *bounds: (classes,) array, low, high; a class is in the set where ``low <= array[class] <
            high`` for each of them.

    Example:
        >>> first = np.array([0, 2, 1])  # experience in which each class first appears
        >>> seen = ClassSet((first, 0, 2))
        >>> seen, 1 in seen, seen | {7} == {0, 2, 7}
        ({0, 2}, False, True)
    """

    def __init__(self, *bounds: tuple[np.ndarray, int, int]) -> None:
        self._bounds = bounds

    @property
    def mask(self) -> np.ndarray:
        """(classes,) boolean."""
        found = np.ones(len(self._bounds[0][0]), dtype=bool)
        for values, low, high in self._bounds:
            found &= (values >= low) & (values < high)
        return found

    def __contains__(self, item: object) -> bool:
        if not isinstance(item, int | np.integer) or not 0 <= item < len(self._bounds[0][0]):
            return False
        return all(low <= values[item] < high for values, low, high in self._bounds)

    def __iter__(self) -> Iterator[int]:
        return iter(np.flatnonzero(self.mask).tolist())

    def __len__(self) -> int:
        return int(np.count_nonzero(self.mask))

    def __repr__(self) -> str:
        return repr(set(self))

    @classmethod
    def _from_iterable(cls, it: Iterable[Any]) -> Any:
        """What operators between sets give."""
        return set(it)

"""Items of map-style data sets, keys of their augmented views, and their batches."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from cl_prompts.checks import shown
from cl_prompts.datasets.classes import Items
from cl_prompts.errors import InputError

Key = tuple[int, ...]

_KEY: ContextVar[Key | None] = ContextVar("view key", default=None)


@contextmanager
def viewing(*key: int) -> Iterator[None]:
    """Read items as augmented views under ``key`` in this context.

    A view depends on the transform's seed and this key alone: neither on the process that makes it
    nor on earlier draws. The training loop gives each item of its order a key of its own. Without
    a key, the package's data sets give images without augmentation.

    >>> with viewing(100, 1):
    ...     current_key()
    (100, 1)
    """
    token = _KEY.set(key)
    try:
        yield
    finally:
        _KEY.reset(token)


def current_key() -> Key | None:
    """Return the key of the enclosing :func:`viewing`, or None."""
    return _KEY.get()


def entries_of(item: object) -> tuple[Any, ...]:
    """Return an item as a tuple of image, label and so on; it may be a bare image.

    >>> entries_of("image"), entries_of(["image", 3])
    (('image',), ('image', 3))
    """
    return tuple(item) if isinstance(item, list | tuple) else (item,)


class LabelledItems(Dataset[Any]):
    """The items of a data set, with labels added to bare images, or in the place of theirs.

    Example:
        >>> LabelledItems(["image 0"], [2])[0]
        ('image 0', 2)

    Args:
        data: items start with the image and its label.
        labels: class ids (n,), or rows of zeros and ones (n, C).
        replace: leave out all but the image of each item.
    """

    def __init__(
        self, data: Items | Dataset[object], labels: Any, *, replace: bool = False
    ) -> None:
        self.data = data
        self.targets = labels
        self.replace = replace

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> object:
        item = self.data[int(index)]
        entries = entries_of(item)
        if len(entries) > 1 and not self.replace:
            return item
        return entries[0], self.targets[index]


class HeldOutItems(LabelledItems):
    """Items for evaluation, whose random transforms give the same images at each read.

    The key of each augmented view is its row, in any process.

    >>> HeldOutItems(["image 0", "image 1"], [2, 3])[1]
    ('image 1', 3)
    """

    def __getitem__(self, index: int) -> object:
        with viewing(index):
            return super().__getitem__(index)


def collate(items: list[object]) -> Any:
    """Collate items (image, label, ...) by ``default_collate``, with clear errors.

    >>> collate([(Tensor(3, 8, 8), "cat")])
    Traceback (most recent call last):
    cl_prompts.errors.InputError: items have 'cat' as entry 2: use numbers after the image, first \
a class id or a row of zeros and ones

    Raises:
        InputError: an entry after the image is not a number, or torch cannot collate the items.
    """
    for place, entry in enumerate(entries_of(items[0])[1:], start=2):
        if not isinstance(entry, Tensor | np.ndarray | np.generic | int | float):
            raise InputError(
                f"items have {shown(entry)} as entry {place}: use numbers after the image, first a"
                " class id or a row of zeros and ones"
            )
    try:
        return default_collate(items)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"items cannot be collated ({shown(error)}): use float tensors (3, size, size) as"
            " images, and ints as labels"
        ) from error

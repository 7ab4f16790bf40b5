"""Items of map-style data sets: what they hold, and how they become batches."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from cl_prompts.checks import shown
from cl_prompts.datasets.views import viewing
from cl_prompts.errors import InputError


def entries_of(item: Any) -> tuple[Any, ...]:
    """An item as image, label and so on, also where it is a bare image.

    >>> entries_of("image"), entries_of(["image", 3])
    (('image',), ('image', 3))
    """
    return tuple(item) if isinstance(item, list | tuple) else (item,)


def check_item(what: str, row: int, item: Any, target: Any) -> None:
    """Refuse an item of a user's data set whose own label is not the one in ``.targets``.

    A second entry that is no label, such as a path or a mask, is not looked at.

    Args:
        what: the data set, for the sentence.
        row: of the item.
        item: image, label, and so on.
        target: the label in ``.targets``, a number or a row (C,) of zeros and ones.

    Raises:
        InputError: the two differ.

    >>> check_item("it", 7, ("image", 3), 2)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: item 7 of it has label 3, and .targets says 2: make the two agree
    """
    _, own, *_ = (*entries_of(item), None, None)
    if own is None or isinstance(own, str | bytes | dict):
        return
    found, wanted = numbers_of(own), numbers_of(target)
    if found is None or (found.ndim > 1 and found.size > 1):
        return
    if not _agree(found.ravel(), wanted):
        raise InputError(
            f"item {row} of {what} has label {shown(found.tolist())}, and .targets says"
            f" {shown(np.asarray(wanted).tolist())}: make the two agree"
        )


def numbers_of(value: Any) -> np.ndarray | None:
    """An array of numbers; None for what is none, such as lists of different lengths."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = value.double() if value.is_floating_point() else value  # numpy has no bf16
    try:
        found = np.asarray(value)
    except ValueError:
        return None
    return found if found.dtype.kind in "biuf" else None


def _agree(found: np.ndarray, target: Any) -> bool:
    """Whether a label of an item says the same as a class id or a row of zeros and ones: in the
    same way, or a class id as a row of zeros and ones, and a row as a list of class ids."""
    if not np.ndim(target):
        # Nearly all labels, each of which is looked at whenever it is read.
        if found.size == 1:
            return bool(found[0] == target)
        return np.array_equal(found, np.arange(found.size) == target)
    # As many class ids as there are classes, of three and more, are no row: they go beyond 1.
    if found.size == np.size(target) and found.max() <= 1:
        return np.array_equal(found, np.ravel(target))
    return np.array_equal(np.unique(found), np.flatnonzero(target))


def read(data: Any, row: int) -> Any:
    """An item of a data set, whose label has to be the one in ``.targets``, if it has these.

    >>> read(["image 0", "image 1"], 1)
    'image 1'

    Raises:
        InputError: another label.
    """
    item = data[row]
    targets = getattr(data, "targets", None)
    if targets is not None:
        check_item("the data set", row, item, targets[row])
    return item


def refuse_own_collate(data: Any) -> None:
    """Refuse data that are joined to batches by a function of their own: replay and evaluation read
    items one by one, and would see others.

    >>> refuse_own_collate([("image 0", 1)])

    Raises:
        InputError: data with a ``collate_fn``.
    """
    if getattr(data, "collate_fn", None) not in (None, default_collate):
        raise InputError(
            "the data set has a collate_fn of its own, by which replay and evaluation do not join"
            " items: leave it out, and let the items be what it makes of them"
        )


class CheckedItems(Dataset[Any]):
    """The items of a data set, whose labels have to be those of the stream, or of evaluation.

    Example:
        >>> CheckedItems([("image 0", 1)], np.array([0]))[0]
        Traceback (most recent call last):
        cl_prompts.errors.InputError: item 0 of the data set has label 1, and .targets says 0: \
make the two agree
        >>> CheckedItems(["image 0"], [2])[0]
        ('image 0', 2)

    Args:
        data: items open with the image and its label, which is added where there is none.
        labels: class ids (n,), or rows of zeros and ones (n, C).
    """

    def __init__(self, data: Any, labels: Any) -> None:
        self.data = data
        self.targets = labels
        refuse_own_collate(data)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> Any:
        item = self.data[index]
        target = self.targets[index]
        check_item("the data set", index, item, target)
        entries = entries_of(item)
        return item if len(entries) > 1 else (*entries, target)


class HeldOutItems(CheckedItems):
    """Items for evaluation, each in one view, that under its row: random test images are the same
    at each read, in any process.

    >>> HeldOutItems(["image 0", "image 1"], [2, 3])[1]
    ('image 1', 3)
    """

    def __getitem__(self, index: int) -> Any:
        with viewing(index):
            return super().__getitem__(index)


def joined_items(items: list[Any]) -> Any:
    """A batch of items (image, label, ...), as ``default_collate`` makes it.

    >>> joined_items([(Tensor(3, 8, 8), "cat")])
    Traceback (most recent call last):
    cl_prompts.errors.InputError: items hold 'cat' as entry 2: give nothing but numbers behind the \
image, first of all a class id, or a row of zeros and ones

    Raises:
        InputError: an entry behind the image is no number, such as a path, or differs in shape; or
            torch cannot join the entries.
    """
    shapes, *others = map(shapes_behind_image, items)
    for found in others:
        if found != shapes:
            raise InputError(
                f"items hold entries of shapes {found} behind the image, and others {shapes}: give"
                " class ids, or rows of zeros and ones, and nothing that differs in shape"
            )
    try:
        return default_collate(items)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"items cannot be joined to a batch ({shown(error)}): give images as tensors of floats"
            " (3, size, size), and labels as ints"
        ) from error


def shapes_behind_image(item: Any) -> list[tuple[int, ...]]:
    """Shapes of an item's label and of what follows it, or of a batch's.

    Raises:
        InputError: something is no number.
    """
    entries = entries_of(item)[1:]
    for place, entry in enumerate(entries):
        if not _is_number(entry):
            raise InputError(
                f"items hold {shown(entry)} as entry {place + 2}: give nothing but numbers behind"
                " the image, first of all a class id, or a row of zeros and ones"
            )
    return [tuple(np.shape(entry)) for entry in entries]


def _is_number(entry: Any) -> bool:
    if isinstance(entry, np.ndarray | np.generic):
        return entry.dtype.kind in "biuf"
    return isinstance(entry, Tensor | int | float)

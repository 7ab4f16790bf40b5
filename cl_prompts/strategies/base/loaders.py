"""Batches in stream order, repeated, and the views that they consist of."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from cl_prompts.backbones import ranks
from cl_prompts.training.views import DeferredViews, Key, collated, deferring_views, viewing

KeyedRow = tuple[int, Key]


class RecurringViews(NamedTuple):
    """The views of an experience's samples in one epoch, where each has so many and takes them in
    turn.

    Attributes:
        views: of each sample.
        source: number of the experience.
        first: updates that were made on each sample in earlier epochs.

    Example:
        >>> RecurringViews(views=2, source=0, first=3).key(row=7, repetition=1)
        (0, 7, 0)
    """

    views: int
    source: int
    first: int = 0

    def key(self, row: int, repetition: int) -> Key:
        """Key of a row's view in an update on its batch."""
        return self.source, row, (self.first + repetition) % self.views

    def samples(self, rows: Tensor, repetition: int) -> Tensor:
        """(m, 2) number of the experience and of the view in it, for rows (m,)."""
        view = (self.first + repetition) % self.views
        return torch.stack([torch.full_like(rows, self.source), rows * self.views + view], dim=1)


class RepeatedBatches(Sampler[list[KeyedRow]]):
    """Batches of rows 0 .. n-1, each ``repeats`` times in a row, with the key of each row's view:
    its stream position and the repetition, so that every repetition is another view.

    Args:
        n: rows.
        batch_size: rows per batch; the last batch may be shorter.
        repeats: times each batch is yielded.
        generator: of a new order for each pass; None for the order of rows.

    Example:
        >>> list(RepeatedBatches(2, batch_size=1, repeats=2))
        [[(0, (0, 0))], [(0, (0, 1))], [(1, (1, 0))], [(1, (1, 1))]]
    """

    def __init__(
        self, n: int, batch_size: int, repeats: int, generator: torch.Generator | None = None
    ) -> None:
        self.n = n
        self.batch_size = batch_size
        self.repeats = repeats
        self.generator = generator
        self.order = torch.arange(n)
        self.start = 0
        """Rows of the order that the next pass leaves out, whole batches: they were done before."""
        self.origin = 0
        """Stream position at which the next pass begins, or began where it leaves rows out."""
        self.recurring: RecurringViews | None = None
        """Views of the next pass that come again; None for new ones."""
        self.shared = False
        """Whether several ranks share each batch: this one yields its share, see
        :func:`joined_batch`."""

    def __iter__(self) -> Iterator[list[KeyedRow]]:
        if self.generator is not None:
            self.order = torch.randperm(self.n, generator=self.generator)
        position = self.origin + self.start
        left = self.order[self.start :]
        self.start = 0
        for rows in left.split(self.batch_size) if len(left) else ():
            places = list(enumerate(rows.tolist(), position))
            for repetition in range(self.repeats):
                mine = places[ranks.share(len(places)).rows] if self.shared else places
                if self.recurring is None:
                    yield [(row, (place, repetition)) for place, row in mine]
                else:
                    yield [(row, self.recurring.key(row, repetition)) for _, row in mine]
            position += len(rows)

    def __len__(self) -> int:
        return self.repeats * -(-self.n // self.batch_size)


def joined_batch(columns: Sequence[Any], n: int, device: Any = "cpu") -> list[Any]:
    """The whole batch, from what each rank has read of it.

    >>> joined_batch([torch.zeros(2, 3)], n=2)  # by this process alone
    [tensor([[0., 0., 0.],
            [0., 0., 0.]])]

    Args:
        columns: images and so on of this rank's rows (:attr:`Share.rows
            <cl_prompts.backbones.ranks.Share.rows>`). Of views that are made later each rank makes
            the whole batch.
        n: rows of the batch.
        device: that images are sent from: the GPU's way is the faster one. Others stay on the CPU.
    """
    if not ranks.is_distributed():
        return list(columns)
    kept = ranks.share(n).kept
    images, *others = (column[:kept] for column in columns)
    later = images if isinstance(images, DeferredViews) else None
    sent = images if later is None else later.packed
    if torch.device(device).type == "cpu":
        joined, *others = ranks.gathered([sent, *others], n)
    else:
        joined, *others = ranks.gathered([sent.to(device)], n) + ranks.gathered(others, n)
    return [joined if later is None else DeferredViews(joined, later.decode), *others]


class KeyedItems(Dataset[Any]):
    """The items of a data set under view keys: ``[row, key] -> item``.

    With :class:`RepeatedBatches`, a DataLoader with any number of workers delivers the same views,
    through whatever subsets lie between it and the images.

    Args:
        data: any map-style data set.

    Example:
        >>> KeyedItems(["a", "b"])[1, (100, 0)]  # nothing random here
        'b'
    """

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: KeyedRow) -> Any:
        row, key = index
        with viewing(*key), deferring_views():
            return self.data[row]


def keyed_loader(data: Any, batches: RepeatedBatches, **arguments: Any) -> DataLoader[Any]:
    """A loader of a data set's items in keyed views.

    Args:
        data: any map-style data set; its ``collate_fn``, if it has one, joins items.
        batches: the order of rows, and their keys.
        arguments: of ``DataLoader``.

    Example:
        >>> list(keyed_loader([7, 8, 9], RepeatedBatches(3, batch_size=2, repeats=1)))
        [tensor([7, 8]), tensor([9])]
    """
    collate = getattr(data, "collate_fn", None) or default_collate
    return DataLoader(
        KeyedItems(data),
        batch_sampler=batches,
        collate_fn=partial(collated, collate=collate),
        **arguments,
    )

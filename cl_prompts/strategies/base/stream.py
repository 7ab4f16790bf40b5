"""The stream as a strategy sees it: batches in order, each in several views."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cl_prompts.datasets.collate import (
    collate,
)
from cl_prompts.datasets.transforms import Key, viewing

KeyedRow = tuple[int, Key]


@dataclass
class Batch:
    """Mini-batch of one update: samples of the stream, followed by samples replayed from the
    buffer.

    Attributes:
        columns: Avalanche's mini-batch: images (batch, 3, size, size), labels (batch,) or
            (batch, classes), and task labels.
        annotated: classes that are labelled, boolean: (classes,) for all samples, or
            (batch, classes) once replayed samples of other tasks are among them.
        slots: (replayed,) slots of the buffer that hold the replayed samples.
        samples: (batch, 2) number of the experience and of the view in it, where views come again;
            on the CPU.
        host_labels: of the samples of the stream, on the CPU as the loader gave them; None where
            they are not known there.

    Example:
        >>> import torch
        >>> columns = [torch.zeros(3, 3, 8, 8), torch.tensor([0, 1, 1])]
        >>> batch = Batch(columns, annotated=torch.tensor([True, True]), slots=torch.tensor([7]))
        >>> batch.n_stream, batch.part(slice(2, None)).labels.tolist()
        (2, [1])
    """

    columns: list[Tensor]
    annotated: Tensor
    slots: Tensor
    samples: Tensor | None = None
    host_labels: Tensor | None = None

    @property
    def images(self) -> Tensor:
        """(batch, 3, size, size) in [0, 1], RGB."""
        return self.columns[0]

    @property
    def labels(self) -> Tensor:
        """(batch,) classes, or (batch, classes) zeros and ones."""
        return self.columns[1]

    @property
    def n_stream(self) -> int:
        """Number of samples of the stream."""
        return len(self.labels) - len(self.slots)

    def labels_on_host(self, n: int) -> Tensor:
        """Labels of the first ``n`` samples, which are of the stream, on the CPU; a GPU waits only
        where the loader's are not known."""
        if self.host_labels is not None:
            return self.host_labels[:n]
        return self.labels[:n].cpu()

    def classes_on_host(self) -> list[int] | None:
        """Classes that occur in the stream's samples of one class each, where they are known on the
        CPU."""
        return None if self.host_labels is None else self.host_labels.unique().tolist()

    def part(self, rows: slice) -> Batch:
        """Some rows of the batch, with the slots of the whole."""
        whole = self.annotated.dim() == 1
        annotated = self.annotated if whole else self.annotated[rows]
        samples = None if self.samples is None else self.samples[rows]
        columns = [column[rows] for column in self.columns]
        return replace(
            self, columns=columns, annotated=annotated, samples=samples, host_labels=None
        )


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


@dataclass(eq=False)
class RepeatedBatches(Sampler[list[KeyedRow]]):
    """Batches of rows 0 .. n-1, each ``repeats`` times in a row, with the key of each row's view:
    its stream position and the repetition, so that every repetition is another view.

    Attributes:
        n: rows.
        batch_size: rows per batch; the last batch may be shorter.
        repeats: times each batch is yielded.
        generator: of a new order for each pass; None for the order of rows.
        start: rows of the order that the next pass leaves out, whole batches: they were done
            before.
        origin: stream position at which the next pass begins, or began where it leaves rows out.
        recurring: views of the next pass that come again; None for new ones.
        order: rows in the order of the pass that was begun last.

    Example:
        >>> list(RepeatedBatches(2, batch_size=1, repeats=2))
        [[(0, (0, 0))], [(0, (0, 1))], [(1, (1, 0))], [(1, (1, 1))]]
    """

    n: int
    batch_size: int
    repeats: int
    generator: torch.Generator | None = None
    start: int = 0
    origin: int = 0
    recurring: RecurringViews | None = None
    order: Tensor = field(init=False)

    def __iter__(self) -> Iterator[list[KeyedRow]]:
        if self.generator is None:
            self.order = torch.arange(self.n)
        else:
            self.order = torch.randperm(self.n, generator=self.generator)
        position = self.origin + self.start
        left = self.order[self.start :]
        self.start = 0
        for first in range(0, len(left), self.batch_size):
            rows = left[first : first + self.batch_size]
            # A view is keyed by the place of its sample in the stream, so that it depends neither
            # on workers nor on where a run was resumed.
            places = list(enumerate(rows.tolist(), position))
            for repetition in range(self.repeats):
                if self.recurring is None:
                    yield [(row, (place, repetition)) for place, row in places]
                else:
                    yield [(row, self.recurring.key(row, repetition)) for _, row in places]
            position += len(rows)

    def __len__(self) -> int:
        return self.repeats * -(-self.n // self.batch_size)

    def samples(self, rows: Tensor, repetition: int) -> Tensor | None:
        """(m, 2) number of the experience and of the view in it, for rows (m,) of the current
        pass; None where views do not come again."""
        return None if self.recurring is None else self.recurring.samples(rows, repetition)


@dataclass
class StreamBatch:
    """A batch of the stream, in as many views as updates are made on it; read all of them before
    the next batch.

    Attributes:
        start: samples of the experience before it.
        size: number of its samples.
        first: the first view.
        views: all views, the first one among them; each is read when it is asked for, once.
        rows: (size,) rows of the experience; None where the loader is a plugin's.

    Example:
        >>> one = Batch([torch.zeros(2, 3, 8, 8)], torch.tensor([True]), torch.zeros(0))
        >>> stream = StreamBatch(start=64, size=2, first=one, views=iter([one, one]))
        >>> [number for number, _ in enumerate(stream.views, 1)]
        [1, 2]
    """

    start: int
    size: int
    first: Batch
    views: Iterator[Batch]
    rows: Tensor | None = None


def stream_batches(
    loader: Any,
    annotated: Tensor,
    *,
    updates: int,
    size: int,
    n: int,
    start: int = 0,
    device: Any = "cpu",
) -> Iterator[StreamBatch]:
    """Stream batches of one epoch.

    Args:
        loader: yields each batch ``updates`` times in a row (:func:`keyed_loader`), or once where
            it is a plugin's, such as Avalanche's ``ReplayPlugin``, whose batches may hold further
            samples.
        annotated: (classes,) boolean, classes that the experience labels.
        updates: views of each batch.
        size: samples of a batch.
        n: samples of the experience.
        start: samples of the epoch that were trained on before, and are left out.
        device: that batches are sent to.

    Example:
        >>> data = [(torch.zeros(3, 8, 8), label, 0) for label in range(3)]
        >>> loader = keyed_loader(data, RepeatedBatches(3, batch_size=2, repeats=2))
        >>> annotated = torch.ones(3, dtype=torch.bool)
        >>> for batch in stream_batches(loader, annotated, updates=2, size=2, n=3):
        ...     print(batch.start, [view.labels.tolist() for view in batch.views])
        0 [[0, 1], [0, 1]]
        2 [[2], [2]]
    """
    sampler = own_sampler(loader)
    # A plugin's loader begins anew where training is resumed.
    items = iter(loader) if sampler is not None else islice(loader, -(-start // size), None)
    for item in items:
        end = min(start + size, n)
        if sampler is None:
            first = _batch_of(item, annotated, device)
            yield StreamBatch(start, end - start, first, repeat(first, updates))
        else:
            rows = sampler.order[start:end]
            first = _batch_of(item, annotated, device, sampler.samples(rows, 0))
            later = (
                _batch_of(next(items), annotated, device, sampler.samples(rows, repetition))
                for repetition in range(1, updates)
            )
            yield StreamBatch(start, end - start, first, chain([first], later), rows)
        start = end


def _batch_of(item: Any, annotated: Tensor, device: Any, samples: Tensor | None = None) -> Batch:
    """A batch of a loader on the device, with what is known of its samples."""
    # Kept as the loader gave them: reading them from a GPU would make it wait.
    labels = item[1]
    return Batch(
        [column.to(device, non_blocking=True) for column in item],
        annotated,
        torch.zeros(0, dtype=torch.int64),
        samples,
        labels if labels.device.type == "cpu" else None,
    )


def own_sampler(loader: Any) -> RepeatedBatches | None:
    """The sampler of a loader of our own; None where a plugin has replaced the loader."""
    sampler = getattr(loader, "batch_sampler", None)
    return sampler if isinstance(sampler, RepeatedBatches) else None


@dataclass(eq=False)
class KeyedItems(Dataset[Any]):
    """The items of a data set under view keys: ``[row, key] -> item``.

    With :class:`RepeatedBatches`, a DataLoader with any number of workers delivers the same views,
    through whatever subsets lie between it and the images.

    Attributes:
        data: any map-style data set.

    Example:
        >>> KeyedItems(["a", "b"])[1, (100, 0)]  # nothing random here
        'b'
    """

    data: Any

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: KeyedRow) -> Any:
        row, key = index
        with viewing(*key):
            return self.data[row]


def keyed_loader(
    data: Any,
    batches: RepeatedBatches,
    **arguments: Any,
) -> DataLoader[Any]:
    """A loader of a data set's items in keyed views.

    Args:
        data: any map-style data set, without a ``collate_fn`` of its own.
        batches: the order of rows, and their keys.
        arguments: of ``DataLoader``.

    Example:
        >>> list(keyed_loader([7, 8, 9], RepeatedBatches(3, batch_size=2, repeats=1)))
        [tensor([7, 8]), tensor([9])]
    """
    return DataLoader(
        KeyedItems(data),
        batch_sampler=batches,
        collate_fn=collate,
        **arguments,
    )

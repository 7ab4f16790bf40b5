"""Stream batches in order, each in several augmented views."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain, count, islice, repeat
from typing import Any, TypeVar

import torch
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cl_prompts.datasets.collate import Key, collate, viewing

KeyedRow = tuple[int, Key]
T = TypeVar("T")


@dataclass
class Batch:
    """Mini-batch of one update: samples of the stream, followed by replayed samples.

    Attributes:
        columns: Avalanche's mini-batch: images (batch, 3, size, size), labels (batch,) or
            (batch, classes), and task labels.
        annotated: boolean mask of the labelled classes: (classes,) for all samples, or
            (batch, classes) if the batch holds replayed samples of other tasks.
        slots: (replayed,) slots of the replayed samples in the buffer.
        samples: (batch, 2) experience and row, on the CPU; None without ``one_view``.
        host_labels: labels of the stream samples on the CPU, as the loader gave them, if known.

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
        """RGB images in [0, 1], (batch, 3, size, size)."""
        return self.columns[0]

    @property
    def labels(self) -> Tensor:
        """Classes (batch,), or zeros and ones (batch, classes)."""
        return self.columns[1]

    @property
    def n_stream(self) -> int:
        """Number of stream samples."""
        return len(self.labels) - len(self.slots)

    def labels_on_host(self, n: int) -> Tensor:
        """Return the labels of the first ``n`` samples, of the stream, on the CPU.

        This synchronises with a GPU only if ``host_labels`` are unknown.
        """
        if self.host_labels is not None:
            return self.host_labels[:n]
        return self.labels[:n].cpu()

    def classes_on_host(self) -> list[int] | None:
        """Return the classes of the stream samples (one per image), or None if unknown."""
        return None if self.host_labels is None else self.host_labels.unique().tolist()

    def part(self, rows: slice) -> Batch:
        """Return some rows of the batch, with the slots of the whole."""
        whole = self.annotated.dim() == 1
        annotated = self.annotated if whole else self.annotated[rows]
        samples = None if self.samples is None else self.samples[rows]
        columns = [column[rows] for column in self.columns]
        return replace(
            self, columns=columns, annotated=annotated, samples=samples, host_labels=None
        )


@dataclass(eq=False)
class RepeatedBatches(Sampler[list[KeyedRow]]):
    """Sampler that yields each batch of rows ``repeats`` times, with the keys of its views.

    A key is the stream position and the repetition, so that every repetition is another view.

    Attributes:
        n: number of rows.
        batch_size: rows per batch; the last batch may be shorter.
        repeats: how often each batch is yielded.
        generator: shuffles each pass; None for the order of rows.
        start: rows that a pass skips, in whole batches, when training resumes.
        origin: stream position of the first row of a pass.
        experience: number of the experience, if each row has one view; None for new views.
        order: row numbers in the order of the current pass.

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
    experience: int | None = None
    order: Tensor = field(init=False)

    def __iter__(self) -> Iterator[list[KeyedRow]]:
        if self.generator is None:
            self.order = torch.arange(self.n)
        else:
            self.order = torch.randperm(self.n, generator=self.generator)
        position = self.origin
        left = self.order[self.start :]
        for first in range(0, len(left), self.batch_size):
            rows = left[first : first + self.batch_size]
            for repetition in range(self.repeats):
                yield self.keyed(rows, position, repetition)
            position += len(rows)

    def keyed(self, rows: Tensor, position: int, repetition: int) -> list[KeyedRow]:
        """Return rows (n,) of a batch with the keys of a view of each."""
        if self.experience is not None:
            return [(row, (self.experience, row, 0)) for row in rows.tolist()]
        # Keys are stream positions, so views depend neither on workers nor on a resume.
        return [(row, (place, repetition)) for place, row in enumerate(rows.tolist(), position)]

    def __len__(self) -> int:
        return self.repeats * -(-self.n // self.batch_size)


@dataclass
class StreamBatch:
    """A batch of the stream, in one view per update; read all views before the next batch.

    Attributes:
        start: number of earlier samples of the experience.
        size: number of samples.
        first: first view.
        views: iterator over all views, the first one included; each is read on demand.
        rows: (size,) rows of the experience; (0,) if the loader is a plugin's.

    Example:
        >>> one = Batch([torch.zeros(2, 3, 8, 8)], torch.tensor([True]), torch.zeros(0))
        >>> rows = torch.tensor([64, 65])
        >>> stream = StreamBatch(start=64, size=2, first=one, views=iter([one, one]), rows=rows)
        >>> [number for number, _ in enumerate(stream.views, 1)]
        [1, 2]
    """

    start: int
    size: int
    first: Batch
    views: Iterator[Batch]
    rows: Tensor


def stream_batches(strategy: SupervisedTemplate, start: int = 0) -> Iterator[StreamBatch]:
    """Yield the stream batches of one epoch.

    The loader yields each batch ``online_iter`` times (:func:`keyed_loader`), or once if it is a
    plugin's, such as Avalanche's ``ReplayPlugin``, whose batches may hold more samples. With a
    ``Budget`` a batch has any number of views: the loader yields the first, and the others are read
    in this process on demand.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        start: samples to skip, since they were trained on before.
    """
    loader, size = strategy.dataloader, strategy.train_mb_size
    updates = None if strategy.budget else strategy.online_iter
    to_batch = partial(_batch_of, strategy.annotated, strategy.device)
    sampler = own_sampler(loader)
    if sampler is None:
        n = len(strategy.experience.dataset)
        # A plugin's loader cannot skip samples itself.
        for item in islice(loader, -(-start // size), None):
            end = min(start + size, n)
            first = to_batch(item)
            no_rows = torch.zeros(0, dtype=torch.int64)
            same = repeat(first) if updates is None else repeat(first, updates)
            yield StreamBatch(start, end - start, first, same, no_rows)
            start = end
        return
    sampler.start, sampler.origin = start, strategy.samples_seen
    sampler.experience = strategy.replay.current if strategy.one_view else None
    place = sampler.origin
    items = iter(loader)
    for item in items:
        rows = sampler.order[start : start + size]
        samples = strategy.replay.references(rows) if strategy.one_view else None
        first = to_batch(item, samples)

        def later(
            rows: Tensor = rows, samples: Tensor | None = samples, place: int = place
        ) -> Iterator[Batch]:
            for number in count(1) if updates is None else range(1, updates):
                keyed = sampler.keyed(rows, place, number)
                again = next(items) if updates else _read(loader, keyed)
                yield to_batch(again, samples)

        yield StreamBatch(start, len(rows), first, chain([first], later()), rows)
        start += len(rows)
        place += len(rows)


def _read(loader: Any, rows: Sequence[KeyedRow]) -> list[Tensor]:
    """Read a batch as the loader's own processes do."""
    return loader.collate_fn([loader.dataset[row] for row in rows])


def _batch_of(
    annotated: Tensor, device: torch.device, item: list[Tensor], samples: Tensor | None = None
) -> Batch:
    """Send a batch of a loader to the device."""
    # On the CPU as the loader gave them: reading them from a GPU would synchronise.
    labels = item[1]
    return Batch(
        [column.to(device, non_blocking=True) for column in item],
        annotated,
        torch.zeros(0, dtype=torch.int64),
        samples,
        labels if labels.device.type == "cpu" else None,
    )


def own_sampler(loader: Iterable[list[Tensor]]) -> RepeatedBatches | None:
    """Return the sampler of a loader of :func:`keyed_loader`, or None for a plugin's loader."""
    sampler = getattr(loader, "batch_sampler", None)
    return sampler if isinstance(sampler, RepeatedBatches) else None


@dataclass(eq=False)
class KeyedItems(Dataset[T]):
    """Data set with view keys: ``[row, key] -> item``.

    With :class:`RepeatedBatches`, a DataLoader yields the same views for any number of workers.

    Attributes:
        data: any map-style data set.

    Example:
        >>> KeyedItems(["a", "b"])[1, (100, 0)]  # no augmentation here
        'b'
    """

    data: Dataset[T]

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: KeyedRow) -> T:
        row, key = index
        with viewing(*key):
            return self.data[row]


def keyed_loader(data: Dataset[T], batches: RepeatedBatches, **arguments: Any) -> DataLoader[T]:
    """Make a ``DataLoader`` of a data set's items in keyed views.

    Args:
        data: any map-style data set without its own ``collate_fn``.
        batches: order of rows, and their keys.
        arguments: of ``DataLoader``.

    Example:
        >>> list(keyed_loader([7, 8, 9], RepeatedBatches(3, batch_size=2, repeats=1)))
        [tensor([7, 8]), tensor([9])]
    """
    return DataLoader(
        KeyedItems(data),
        batch_sampler=batches,
        collate_fn=collate,
        # A private generator: a loader draws a seed even without workers.
        generator=torch.Generator(),
        **arguments,
    )

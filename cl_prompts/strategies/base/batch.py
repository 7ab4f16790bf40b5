"""The mini-batch of one update."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Tensor


@dataclass
class Batch:
    """Samples of the stream, followed by samples replayed from the buffer.

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


class Place(NamedTuple):
    """A place between two stream batches of an experience.

    Attributes:
        samples: stream samples of the current epoch that are done.
        clock: counters of Avalanche's clock, by name.

    Example:
        >>> Place(64, {"train_exp_epochs": 2}).samples
        64
    """

    samples: int
    clock: dict[str, int]


class StreamShare(NamedTuple):
    """A range of samples of the current epoch.

    Attributes:
        start: number of samples of the experience before it.
        size: number of its samples.

    Example:
        >>> StreamShare(start=64, size=32)
        StreamShare(start=64, size=32)
    """

    start: int
    size: int

"""Replay of past stream samples, stored as references."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cl_prompts.datasets.collate import Key, collate, viewing
from cl_prompts.errors import InputError
from cl_prompts.state import State
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.training.buffers import ReplayBuffer

#: experience, row, and key of the view
_Wanted = tuple[int, int, Key]
#: class, or zeros and ones (classes,)
Label = int | np.ndarray | Tensor


class Replay:
    """Replay buffer of (experience, row) references, with the experiences.

    Each draw reads its images from their data set with a new augmentation, keyed by (update, draw,
    experience, row).

    Args:
        buffer: of references of width 2.
        batch_size: samples per draw.
        one_view: whether a sample has one view; otherwise each read makes a new one.

    Attributes:
        draws: independent draws per update (DER++: 2).
        workers: number of processes that read images; 0 for this process.
        n_sources: number of experiences so far, also without a buffer.

    Example:
        >>> from cl_prompts.training import ReservoirBuffer
        >>> replay = Replay(ReservoirBuffer(100, width=2), batch_size=32)
        >>> len(replay)  # nothing is stored yet
        0
    """

    def __init__(self, buffer: ReplayBuffer, batch_size: int, *, one_view: bool = False) -> None:
        self.buffer = buffer
        self.batch_size = batch_size
        self.one_view = one_view
        self.draws = 1
        self.workers = 0
        self.n_sources = 0
        self._items = _Items([], [])
        self._loader: DataLoader[list[Label]] | None = None
        self._shares: list[list[_Wanted]] = []

    def __len__(self) -> int:
        return len(self.buffer)

    @property
    def current(self) -> int:
        """Number of the current experience in references and keys of views, from 0."""
        return self.n_sources - 1

    def enter(self, experience: CLExperience, annotated: Tensor) -> None:
        """Start an experience, which labels the classes ``annotated``, a (classes,) mask."""
        self.n_sources += 1
        if self.buffer.size:  # without a buffer no experience is kept in memory
            self.close()
            # With the transforms of training, also after an evaluation.
            self._items.sources.append(experience.dataset.train())
            self._items.annotated.append(annotated)

    def grow(self, n_classes: int) -> None:
        """Expand to ``n_classes`` further classes, which no experience so far labels."""
        self.close()
        annotated = [F.pad(known, (0, n_classes)) for known in self._items.annotated]
        self._items = _Items(self._items.sources, annotated)

    def close(self) -> None:
        """End the processes that read images; the next draw starts new ones."""
        self._loader = None

    def draw(self, update: int) -> tuple[list[Tensor], Tensor, Tensor]:
        """Draw samples for an update, on the CPU.

        Returns:
            Columns of a mini-batch, annotated classes (m, classes), and slots (m,).
        """
        draws = [self.buffer.draw_slots(self.batch_size) for _ in range(self.draws)]
        parts = [self.read(self.buffer.slots[of], update, draw) for draw, of in enumerate(draws)]
        columns = [torch.cat(of_parts) for of_parts in zip(*(p[0] for p in parts), strict=True)]
        return columns, torch.cat([annotated for _, annotated in parts]), torch.cat(draws)

    def join(self, stream: Batch, update: int) -> Batch:
        """Append newly drawn samples to a stream batch."""
        if len(self) == 0:
            return stream
        columns, annotated, slots = self.draw(update)
        device = stream.images.device
        samples = stream.samples
        if samples is not None:
            samples = torch.cat([samples, self.buffer.slots[slots]])
        # Each replayed sample has the annotated classes of its own experience.
        of_stream = stream.annotated.expand(len(stream.labels), -1)
        return replace(
            stream,
            columns=[
                torch.cat([a, b.to(device)]) for a, b in zip(stream.columns, columns, strict=True)
            ],
            annotated=torch.cat([of_stream, annotated.to(device)]),
            slots=slots,
            samples=samples,
        )

    def read(self, references: Tensor, update: int, draw: int = 0) -> tuple[list[Tensor], Tensor]:
        """Read the samples of (m, 2) references, stored or not, on the CPU.

        Args:
            references: to different samples, such as some ``buffer.slots``.
            update: number of the update in the run, from 0.
            draw: number of the read for this update; :meth:`draw` uses 0 to ``draws - 1``.

        Returns:
            Columns of a mini-batch, and annotated classes (m, classes).
        """
        wanted = [
            (source, row, self._key(source, row, update, draw))
            for source, row in references.tolist()
        ]
        return self._columns(wanted), torch.stack(
            [self._items.annotated[source] for source in references[:, 0].tolist()]
        )

    def _key(self, source: int, row: int, update: int, draw: int) -> Key:
        if self.one_view:
            return source, row, 0
        # A new view for every update, and for every draw in it.
        return update, draw, source, row

    def _columns(self, wanted: Sequence[_Wanted]) -> list[Tensor]:
        """Read a mini-batch of items."""
        if not self.workers or not wanted:
            return list(collate([self._items[one] for one in wanted]))
        if self._loader is None:
            self._loader = DataLoader(
                self._items,
                batch_sampler=self._shares,
                collate_fn=collate,
                num_workers=self.workers,
                persistent_workers=True,
                # A private generator, from which the loader draws the seed of its workers.
                generator=torch.Generator(),
            )
        # One share per process, which the loader yields in this order.
        size = -(-len(wanted) // self.workers)
        self._shares[:] = [list(wanted[at : at + size]) for at in range(0, len(wanted), size)]
        return [torch.cat(column) for column in zip(*self._loader, strict=True)]

    def add(self, rows: Tensor, labels: Tensor) -> Tensor:
        """Offer rows of the current experience; return the slot of each, or -1."""
        return self.buffer.add(self.references(rows), labels)

    def references(self, rows: Tensor) -> Tensor:
        """Return rows (m,) of the current experience as references (m, 2)."""
        return torch.stack([torch.full_like(rows, self.current), rows], dim=1)

    def restore(self, state: State, experiences: list[tuple[CLExperience, Tensor]]) -> None:
        """Restore the buffer, and the experiences trained on with their annotated classes."""
        self.buffer.load_state_dict(state["buffer"])
        self.close()
        self._items = _Items([], [])
        self.n_sources = 0
        for experience, annotated in experiences:
            self.enter(experience, annotated)
        if not self.buffer.size:
            self.n_sources = state["sources"]
        if self.n_sources < state["sources"]:
            raise InputError("load_state_dict needs the experiences trained on, for the buffer")


@dataclass
class _Items(Dataset[list[Label]]):
    """Items of several experiences, each with its ``annotated`` classes."""

    sources: list[AvalancheDataset]
    annotated: list[Tensor]

    def __getitem__(self, wanted: _Wanted) -> list[Label]:
        source, row, key = wanted
        with viewing(*key):
            image, label, *others = self.sources[source][row]
        return [image, self.label(source, label), *others]

    def label(self, source: int, label: Label) -> Label:
        """Pad a multi-hot label with 0 for later classes."""
        if not np.ndim(label):
            return label
        label = torch.as_tensor(label)
        return F.pad(label, (0, len(self.annotated[source]) - len(label)))

"""Replay buffers: references to past samples, without images; Rainbow Memory's selection."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.state import Stateful

#: number of stored samples up to which a draw permutes all
PERMUTED = 4096


class ReplayBuffer(Stateful):
    """Base of replay buffers: int64 slots and a uniform draw from a private generator.

    Args:
        size: slots.
        width: numbers that make up one reference (for instance data set and row).
        seed: of the private generator.

    Example:
        >>> buffer = ReplayBuffer(100, width=2)
        >>> len(buffer), tuple(buffer.draw(32).shape)
        (0, (0, 2))
    """

    state: ClassVar[tuple[str, ...]] = ("slots", "filled", "generator")

    def __init__(self, size: int, *, width: int = 1, seed: int = 0) -> None:
        self.size = size
        self.filled = 0
        self.slots = torch.zeros(size, width, dtype=torch.int64)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.filled

    def draw_slots(self, n: int) -> Tensor:
        """Draw ``min(n, len)`` distinct slots uniformly: (m,) int64.

        The cost does not depend on the size of a large buffer (Floyd's algorithm: Bentley and
        Floyd, "Programming pearls: a sample of brilliance", 1987).
        """
        if self.filled <= max(PERMUTED, n):
            return torch.randperm(self.filled, generator=self.generator)[:n]
        # Floyd's sampling: for j = N - n .. N - 1 draw t <= j, and take j if t is taken.
        last = torch.arange(self.filled - n, self.filled)
        share = torch.rand(n, dtype=torch.float64, generator=self.generator)
        chosen: dict[int, None] = {}
        for j, t in zip(last.tolist(), (share * (last + 1)).long().tolist(), strict=True):
            chosen[j if t in chosen else t] = None
        return torch.tensor(list(chosen), dtype=torch.int64)

    def draw(self, n: int) -> Tensor:
        """Draw ``min(n, len)`` distinct references uniformly: (m, width)."""
        return self.slots[self.draw_slots(n)]

    def add(self, references: Tensor, labels: Tensor) -> Tensor:
        """Offer a batch of references (batch, width); return the slot of each, or -1."""
        raise NotImplementedError

    def _next_free(self) -> int:
        self.filled += 1
        return self.filled - 1


def _final_slots(n: int, holder: dict[int, int]) -> Tensor:
    """Invert a map from slots to rows of the batch: slot (n,) of each row, -1 if not stored."""
    result = torch.full((n,), -1, dtype=torch.int64)
    for slot, row in holder.items():
        result[row] = slot
    return result


class ReservoirBuffer(ReplayBuffer):
    """Reservoir sampling (Vitter 1985): each stream sample is stored with the same probability.

    Deviation: the Si-Blurry code decides for a whole batch first. In the batch that fills the
    buffer every overflowing sample overwrites the last slot, so newer ones are under-represented.

    Args:
        size: slots.
        width: numbers that make up one reference (for instance data set and row).
        seed: of the private generator.

    Example:
        >>> buffer = ReservoirBuffer(3)
        >>> buffer.add(torch.arange(2)[:, None])
        tensor([0, 1])
        >>> sorted(buffer.draw(5)[:, 0].tolist())
        [0, 1]
    """

    state = (*ReplayBuffer.state, "offered")
    offered = 0

    def add(self, references: Tensor, labels: Tensor | None = None) -> Tensor:
        """Offer a batch of references (batch, width) int64, in stream order; labels are ignored.

        Returns:
            (batch,) int64: slot of each sample after the batch, -1 if it is not stored.
        """
        holder: dict[int, int] = {}
        for row, reference in enumerate(references if self.size else ()):
            self.offered += 1
            # A full reservoir of n slots stores sample t with probability n / t (Vitter 1985).
            if self.filled == self.size:
                slot = int(torch.randint(0, self.offered, (1,), generator=self.generator))
            else:
                slot = self._next_free()
            if slot < self.size:
                self.slots[slot] = reference
                holder[slot] = row
        return _final_slots(len(references), holder)


class ClassBalancedBuffer(ReplayBuffer):
    """Class-balanced buffer (Rainbow Memory, CLIB): the largest class gives up a slot.

    Every sample is stored. The incoming sample counts for its class already, ties go to the lowest
    label, and only a class with a slot can lose one. So a class that ever lost a sample has at
    least the size of the largest class minus one.

    * ``policy="random"`` (Rainbow Memory, Bang et al., CVPR 2021, arXiv 2103.17230): a random slot
      of that class.
    * ``policy="importance"`` (CLIB, Koh et al., ICLR 2022, arXiv 2110.10031, section on sample-wise
      importance): its slot of least importance, the first on ties. A sample's importance estimates
      the decrease of the buffer's mean loss when it is trained on. It starts at the mean of its
      class's other slots (0 if there are none); call :meth:`mark_trained` with the slots of each
      training batch and :meth:`observe_losses` with the buffer's losses afterwards.

    Deviations: in the published (Si-Blurry) code, eviction crashes if the largest class has one
    slot, and the list of trained slots is never filled, so that every importance stays 0 and the
    first slot of a class is always freed. Here the decrease of the loss is over samples stored at
    both observations. The paper splits it over the batch; here each trained sample gets all of it,
    which gives the same ranking for batches of equal size.

    Args:
        size: slots.
        width: numbers that make up one reference.
        policy: which slot of the largest class is freed.
        ema: decay of the importance per observation.
        seed: of the private generator.

    Example:
        >>> buffer = ClassBalancedBuffer(4)
        >>> slots = buffer.add(torch.arange(6)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> buffer.labels.bincount().tolist()
        [2, 2]
    """

    state = (*ReplayBuffer.state, "labels", "importance", "losses", "trained")

    def __init__(
        self, size: int, *, width: int = 1, policy: str = "random", ema: float = 0.9, seed: int = 0
    ) -> None:
        super().__init__(size, width=width, seed=seed)
        self.policy = policy
        self.ema = ema
        self.labels = torch.zeros(size, dtype=torch.int64)
        self.importance = torch.zeros(size, dtype=torch.float64)
        # nan: not observed since it was stored
        self.losses = torch.full((size,), torch.nan, dtype=torch.float64)
        self.trained = torch.zeros(size, dtype=torch.bool)

    def add(self, references: Tensor, labels: Tensor) -> Tensor:
        """Store a batch in stream order.

        Args:
            references: (batch, width) int64.
            labels: (batch,) class of each, one per sample.

        Returns:
            (batch,) int64: slot of each sample after the batch, -1 if it is not stored.
        """
        holder: dict[int, int] = {}
        for row, label in enumerate(labels.tolist() if self.size else ()):
            slot = self._next_free() if self.filled < self.size else self._evict(label)
            self._store(slot, references[row], label)
            holder[slot] = row
        return _final_slots(len(references), holder)

    def replace(self, references: Tensor, labels: Tensor) -> None:
        """Replace all stored samples (Rainbow Memory's selection)."""
        self.filled = 0
        self.add(references, labels)

    def mark_trained(self, slots: Tensor) -> None:
        """Mark samples as trained on since the last :meth:`observe_losses`."""
        self.trained[slots.cpu()] = True

    def observe_losses(self, losses: Tensor) -> float:
        """Update the importance of trained samples by the decrease of the buffer's mean loss.

        Args:
            losses: (len,) loss of each stored sample under the current model in evaluation mode.

        Returns:
            The decrease over the samples stored at both observations (0 without any).
        """
        now = losses.detach().to("cpu", torch.float64)
        before = self.losses[: self.filled]
        known = ~before.isnan()
        decrease = float((before - now)[known].mean()) if known.any() else 0.0
        if known.any():
            # I <- ema I + (1 - ema) decrease, for the samples just trained on
            old = self.importance[self.trained]
            self.importance[self.trained] = self.ema * old + (1 - self.ema) * decrease
        self.losses[: self.filled] = now
        self.trained.zero_()
        return decrease

    def _members(self, label: int) -> Tensor:
        """Return the slots of a class, ascending."""
        return (self.labels[: self.filled] == label).nonzero()[:, 0]

    def _evict(self, incoming: int) -> int:
        """Return the slot of the full buffer for a sample of class ``incoming``."""
        counts = self.labels.bincount(minlength=incoming + 1)
        # The incoming sample counts, but a class without slots cannot lose one.
        counts[incoming] += counts[incoming] > 0
        candidates = self._members(int(counts.numpy().argmax()))  # the first of equals
        if self.policy == "importance":
            return int(candidates[self.importance[candidates].argmin()])
        return int(candidates[torch.randint(0, len(candidates), (1,), generator=self.generator)])

    def _store(self, slot: int, reference: Tensor, label: int) -> None:
        others = self._members(label)
        others = others[others != slot]
        # Without observed losses every importance is 0.
        known = self.policy == "importance" and len(others) > 0
        self.importance[slot] = self.importance[others].mean() if known else 0.0
        self.slots[slot] = reference
        self.labels[slot] = label
        self.losses[slot] = torch.nan
        self.trained[slot] = False


def view_uncertainty(scores: Tensor) -> Tensor:
    """Compute Rainbow Memory's uncertainty from predictions for augmented views.

    ``u = 1 - max_c (views predicted as c) / views`` (Bang et al., CVPR 2021, arXiv 2103.17230,
    diversity-aware memory update).

    Args:
        scores: (views, samples, classes) logits or probabilities.

    Returns:
        (samples,) in [0, 1).
    """
    views, _, classes = scores.shape
    # votes[i, c]: views of sample i predicted as c
    votes = F.one_hot(scores.argmax(dim=-1), classes).sum(dim=0)
    # u = 1 - max_c votes_c / views
    return 1 - votes.max(dim=-1).values / views


def diverse_selection(uncertainty: Tensor, labels: Tensor, size: int) -> Tensor:
    """Select samples at equal distances in each class's ranking by uncertainty.

    Rainbow Memory's diversity-aware selection. Every class gets the same share (within one); larger
    classes share what a small class cannot fill. Of m samples of a class, ranked from the most
    certain one, those at positions ``floor(j m / k)``, j = 0 .. k-1, are selected. The published
    Si-Blurry code contains such a selection but never calls it.

    Args:
        uncertainty: (candidates,), see :func:`view_uncertainty`.
        labels: (candidates,) class of each.
        size: number of samples to choose.

    Returns:
        (min(size, candidates),) int64 candidates, ascending.
    """
    classes, counts = labels.unique(return_counts=True)
    chosen = []
    left = size
    for done, i in enumerate(counts.argsort(stable=True).tolist()):
        have = int(counts[i])
        # an equal share of what is left, small classes first
        take = min(have, left // (len(classes) - done))
        left -= take
        # of the class, ranked by uncertainty, those at floor(j m / k)
        members = (labels == classes[i]).nonzero()[:, 0]
        ranked = members[uncertainty[members].argsort(stable=True)]
        chosen.append(ranked[torch.arange(take) * have // max(take, 1)])
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)

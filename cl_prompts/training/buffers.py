"""Replay buffers of past samples. They hold references to samples, never images."""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from typing import Any

import torch
from torch import Tensor

from cl_prompts.errors import InputError, unknown

#: up to so many held samples a draw permutes them all
PERMUTED = 4096
#: what a class-balanced buffer keeps of each sample
_OF_EACH = ("labels", "importance", "losses", "trained")


class ReplayBuffer:
    """Base of replay buffers: preallocated int64 slots, a private generator and a uniform draw.
    Subclasses decide which samples are stored.

    Args:
        size: slots.
        width: numbers that make up one reference (for instance data set and row).
        seed: of the private generator.

    Example:
        >>> buffer = ReplayBuffer(100, width=2)
        >>> len(buffer), tuple(buffer.draw(32).shape)
        (0, (0, 2))
    """

    def __init__(self, size: int, *, width: int = 1, seed: int = 0) -> None:
        self.size = size
        self.filled = 0
        self.slots = torch.zeros(size, width, dtype=torch.int64)
        self.generator = torch.Generator().manual_seed(seed)

    def __len__(self) -> int:
        return self.filled

    def draw_slots(self, n: int) -> Tensor:
        """``min(n, len)`` distinct slots, drawn uniformly: (m,) int64.

        The work does not grow with a large buffer (Floyd's algorithm: Bentley and Floyd,
        "Programming pearls: a sample of brilliance", 1987).
        """
        if self.filled <= max(PERMUTED, n):
            return torch.randperm(self.filled, generator=self.generator)[:n]
        # Floyd's sampling: for j = N - n .. N - 1 draw t <= j, and take j itself where t is taken;
        # it costs n draws, whatever the size N of the buffer.
        last = torch.arange(self.filled - n, self.filled)
        share = torch.rand(n, dtype=torch.float64, generator=self.generator)
        chosen: dict[int, None] = {}
        for j, t in zip(last.tolist(), (share * (last + 1)).long().tolist(), strict=True):
            chosen[j if t in chosen else t] = None
        return torch.tensor(list(chosen), dtype=torch.int64)

    def draw(self, n: int) -> Tensor:
        """``min(n, len)`` distinct references, drawn uniformly: (m, width)."""
        return self.slots[self.draw_slots(n)]

    def state_dict(self) -> dict[str, Any]:
        """Contents, counters and generator."""
        return {
            "slots": self.slots.clone(),
            "filled": self.filled,
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`.

        Raises:
            InputError: of a buffer of another size.
        """
        if state["slots"].shape != self.slots.shape:
            raise InputError(
                f"the saved replay buffer has {len(state['slots'])} places, and this one"
                f" {self.size}: make it with the same buffer_size"
            )
        self.slots = state["slots"].clone()
        self.filled = int(state["filled"])
        self.generator.set_state(state["generator"])

    def _next_free(self) -> int:
        self.filled += 1
        return self.filled - 1


def _final_slots(n: int, holder: dict[int, int]) -> Tensor:
    """``holder`` slot -> row of the batch that holds it now; to (n,) slots, -1 where a row is not
    held."""
    result = torch.full((n,), -1, dtype=torch.int64)
    for slot, row in holder.items():
        result[row] = slot
    return result


class ReservoirBuffer(ReplayBuffer):
    """Reservoir sampling (Vitter 1985): every sample of the stream is held with the same
    probability.

    Slots are preallocated int64; each insertion is decided sample by sample.

    Args:
        size: slots.
        width: numbers that make up one reference (for instance data set and row).
        boundary: ``"sequential"`` decides each sample after the one before it was stored;
            ``"published"`` reproduces the Si-Blurry code, which decides for a whole batch before
            storing any of it: in the batch that fills the buffer every overflowing sample
            overwrites the last slot, so newer samples are under-represented.
        seed: of the private generator.

    Example:
        >>> buffer = ReservoirBuffer(3)
        >>> buffer.add(torch.arange(2)[:, None])
        tensor([0, 1])
        >>> sorted(buffer.draw(5)[:, 0].tolist())
        [0, 1]
    """

    def __init__(
        self, size: int, *, width: int = 1, boundary: str = "sequential", seed: int = 0
    ) -> None:
        super().__init__(size, width=width, seed=seed)
        if boundary not in ("sequential", "published"):
            raise InputError(
                f"reservoir boundary {boundary!r} is not known: it is 'sequential' or 'published'"
            )
        self.boundary = boundary
        self.offered = 0

    def add(self, references: Tensor, labels: Tensor | None = None) -> Tensor:
        """Offer a batch of references (batch, width) int64, in stream order; labels are ignored.

        Returns:
            (batch,) int64: the slot that holds each sample when the whole batch has been offered,
            -1 if none does. What belongs to a slot (a stored logit, say) can be written there with
            one assignment.
        """
        holder: dict[int, int] = {}
        # The published code asks once a batch: one that begins on a reservoir with room draws
        # nothing, and what no longer fits overwrites the last slot.
        full_before = self.filled == self.size
        for row, reference in enumerate(references if self.size else ()):
            self.offered += 1
            # A full reservoir of n slots stores sample t with probability n / t (Vitter 1985).
            full = full_before if self.boundary == "published" else self.filled == self.size
            if full:
                slot = int(torch.randint(0, self.offered, (1,), generator=self.generator))
            else:
                slot = self._next_free() if self.filled < self.size else self.size - 1
            if slot < self.size:
                self.slots[slot] = reference
                holder[slot] = row
        return _final_slots(len(references), holder)

    def state_dict(self) -> dict[str, Any]:
        """Contents, counters and generator."""
        return {**super().state_dict(), "offered": self.offered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        self.offered = int(state["offered"])


class ClassBalancedBuffer(ReplayBuffer):
    """Class-balanced buffer (Rainbow Memory, CLIB): every sample is stored, and when the buffer is
    full the fullest class gives up a slot.

    The incoming sample counts for its class already, ties go to the lowest label, and only a class
    that holds a slot can lose one. So no class that ever lost a sample holds fewer than the fullest
    class minus one.

    * ``policy="random"`` (Rainbow Memory, Bang et al., CVPR 2021, arXiv 2103.17230): a random slot
      of that class.
    * ``policy="importance"`` (CLIB, Koh et al., ICLR 2022, arXiv 2110.10031, section on sample-wise
      importance): its slot of least importance, the first on ties. A sample's importance estimates
      the decrease of the buffer's mean loss when it is trained on. It starts at the mean of its
      class's other slots (0 if there are none); call :meth:`mark_trained` with the slots of each
      training batch and :meth:`observe_losses` with the buffer's losses afterwards.

    Deviations from the published (Si-Blurry) code, in which eviction crashes when the fullest class
    holds one slot, and the list of trained slots is never filled, so that every importance stays 0
    and the first slot of a class is always freed. The loss decrease is taken over samples
    that were held at both observations. The paper splits it over the batch; here each trained
    sample is credited with all of it, which ranks them alike as long as batches are equal.

    Args:
        size: slots.
        width: numbers that make up one reference.
        policy: which slot of the fullest class is freed.
        ema: share of the old importance that an observation keeps.
        seed: of the private generator.

    Example:
        >>> buffer = ClassBalancedBuffer(4)
        >>> slots = buffer.add(torch.arange(6)[:, None], torch.tensor([0, 0, 0, 0, 1, 1]))
        >>> buffer.class_counts()
        {0: 2, 1: 2}
    """

    def __init__(
        self, size: int, *, width: int = 1, policy: str = "random", ema: float = 0.9, seed: int = 0
    ) -> None:
        super().__init__(size, width=width, seed=seed)
        if policy not in ("random", "importance"):
            raise unknown("eviction policy", policy, ("random", "importance"))
        if not 0 <= ema < 1:
            raise InputError(f"ema of the buffer's importance is {ema}: it must lie in [0, 1)")
        self.policy = policy
        self.ema = ema
        self._members: dict[int, list[int]] = defaultdict(list)  # slots of a class, ascending
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
            (batch,) int64: the slot that holds each sample when the whole batch has been stored, -1
            if none does.
        """
        holder: dict[int, int] = {}
        for row, label in enumerate(labels.tolist() if self.size else ()):
            # Free slots first; then a sample of the fullest class makes room.
            slot = self._next_free() if self.filled < self.size else self._evict(label)
            self._store(slot, references[row], label)
            holder[slot] = row
        return _final_slots(len(references), holder)

    def class_counts(self) -> dict[int, int]:
        """Slots held by each class that holds any, by ascending label."""
        return {label: len(slots) for label, slots in sorted(self._members.items()) if slots}

    def replace(self, references: Tensor, labels: Tensor) -> None:
        """Replace the contents by these samples (for a selection such as Rainbow Memory's)."""
        self.filled = 0
        self._members.clear()
        self.add(references, labels)

    def mark_trained(self, slots: Tensor) -> None:
        """Note that the samples in ``slots`` were trained on since the last
        :meth:`observe_losses`."""
        self.trained[slots.cpu()] = True

    def observe_losses(self, losses: Tensor) -> float:
        """Credit the trained samples with the decrease of the buffer's mean loss since the last
        observation.

        Args:
            losses: (len,) loss of each held sample under the current model in evaluation mode.

        Returns:
            that decrease, over the samples held at both observations (0 if there are none).
        """
        now = losses.detach().to("cpu", torch.float64)
        before = self.losses[: self.filled]
        # Samples that came after the last observation have no loss to compare with.
        known = ~before.isnan()
        decrease = float((before - now)[known].mean()) if known.any() else 0.0
        if known.any():
            # I <- ema I + (1 - ema) decrease, for the samples just trained on
            old = self.importance[self.trained]
            self.importance[self.trained] = self.ema * old + (1 - self.ema) * decrease
        self.losses[: self.filled] = now
        self.trained.zero_()
        return decrease

    def state_dict(self) -> dict[str, Any]:
        """Contents, labels, importances and generator."""
        own = {name: getattr(self, name).clone() for name in _OF_EACH}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state)
        for name in _OF_EACH:
            setattr(self, name, state[name].clone())
        self._count_members()

    def _count_members(self) -> None:
        self._members.clear()
        for slot, label in enumerate(self.labels[: self.filled].tolist()):
            self._members[label].append(slot)

    def _evict(self, incoming: int) -> int:
        """Take its slot from a sample, for one of class ``incoming``; the buffer is full."""
        # The incoming sample counts, but a class that holds nothing cannot lose anything.
        counts = {c: len(slots) + (c == incoming) for c, slots in self._members.items() if slots}
        fullest = max(counts, key=lambda c: (counts[c], -c))
        candidates = self._members[fullest]
        if self.policy == "importance":  # argmin takes the first of equals
            place = int(self.importance[candidates].argmin())
        else:
            place = int(torch.randint(0, len(candidates), (1,), generator=self.generator))
        return candidates.pop(place)

    def _store(self, slot: int, reference: Tensor, label: int) -> None:
        others = self._members[label]
        # Without observed losses every importance is 0.
        self.importance[slot] = (
            self.importance[others].mean() if others and self.policy == "importance" else 0.0
        )
        insort(others, slot)
        self.slots[slot] = reference
        self.labels[slot] = label
        self.losses[slot] = torch.nan
        self.trained[slot] = False

"""Feature cache: the frozen part of forward passes, computed once for each view of an image."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_prompts.models.base import ContinualModel, Output

#: bytes that features of training images may take
BUDGET = 2**30

Keys = Mapping[str, Hashable]


@dataclass
class _Part:
    """Values (n, width) of a cacheable part by sample, and which samples have one."""

    version: Hashable
    known: Tensor
    values: Tensor


class FeatureCache:
    """Cacheable parts of forward passes, by sample; a sample is a view of a row.

    Where a sample comes again, the parts of a pass that
    :meth:`~cl_prompts.models.base.ContinualModel.cache_keys` names are the same each time: the
    query of a prompt method, the feature of a head on a frozen ViT, the logits of a finished lane.
    They are computed once, which is exact.

    Args:
        budget: bytes that values may take; samples beyond it are computed at each pass. None for
            no bound.

    Example:
        >>> cache = FeatureCache()
        >>> cache.reserve(0, n=3)
        >>> cache.put(torch.tensor([2]), {"frozen": torch.tensor([[1.0, 0.5]])}, {"frozen": 0})
        >>> cache.known("frozen", torch.arange(3)).tolist()
        [False, False, True]
    """

    def __init__(self, budget: int | None = None) -> None:
        self.budget = budget
        self.reused = 0
        """Samples of training passes whose frozen work was cached."""
        self.computed = 0
        """Samples of training passes whose frozen work could be cached, and was computed."""
        self._n = 0
        self._starts: dict[int, int] = {}
        self._parts: dict[str, _Part] = {}

    def reserve(self, experience: int, n: int) -> None:
        """Make room for the ``n`` samples of a source, such as an experience."""
        self._starts[experience] = self._n
        self._n += n

    def clear(self) -> None:
        """Forget all sources and their values."""
        self._n = 0
        self._starts = {}
        self._parts = {}

    def drop_outdated(self, keys: Keys) -> None:
        """Forget values of parts whose version has changed."""
        self._parts = self._usable(keys)

    def _usable(self, keys: Keys) -> dict[str, _Part]:
        return {
            name: part
            for name, part in self._parts.items()
            if name in keys and keys[name] == part.version
        }

    def known(self, name: str, rows: Tensor) -> Tensor:
        """(n,) boolean: samples (n,) that have a value of a part; on the CPU."""
        part = self._parts.get(name)
        if part is None:
            return torch.zeros(len(rows), dtype=torch.bool)
        inside = rows < len(part.known)
        return part.known[rows.clamp(max=len(part.known) - 1)] & inside

    def get(self, name: str, rows: Tensor) -> Tensor:
        """Values (n, width) of known samples (n,)."""
        values = self._parts[name].values
        return values[rows.to(values.device)]

    def put(self, rows: Tensor, values: Mapping[str, Tensor], keys: Keys) -> None:
        """Keep the values (n, width) of samples (n,), as far as the budget reaches."""
        names = sorted(values.keys() & keys.keys())
        room = self._room(sum(values[name].shape[1] for name in names))
        fits = (rows < room).nonzero()[:, 0]
        if not len(fits):
            return
        for name in names:
            part = self._sized(name, keys[name], room, values[name])
            where = values[name].device
            part.values[rows[fits].to(where)] = values[name][fits.to(where)].float()
            part.known[rows[fits]] = True

    def _room(self, width: int) -> int:
        """Samples, counted from the first one, whose values of this width fit the budget."""
        # In fp32, of 4 bytes, whatever the precision of the backbone: features are.
        return self._n if self.budget is None else min(self._n, self.budget // (4 * width))

    def _sized(self, name: str, version: Hashable, room: int, values: Tensor) -> _Part:
        """A part with room for so many rows."""
        part = self._parts.get(name)
        if part is None:
            empty = torch.zeros(0, values.shape[1], device=values.device)
            part = _Part(version, torch.zeros(0, dtype=torch.bool), empty)
            self._parts[name] = part
        more = room - len(part.known)
        if more > 0:
            part.known = torch.cat([part.known, part.known.new_zeros(more)])
            wider = part.values.new_zeros(more, part.values.shape[1])
            part.values = torch.cat([part.values, wider])
        return part

    def run(self, model: ContinualModel, images: Tensor, samples: Tensor | None) -> Output:
        """Output of a training pass, whose cached parts are not computed again.

        Args:
            model: that is trained.
            images: (batch, 3, size, size).
            views: (batch, 2) source and number of the view in it; None where views never come
                again, and nothing is cached.
        """
        keys = {} if samples is None else model.cache_keys()
        if samples is None or not keys:
            return model.run(images)
        self.drop_outdated(keys)
        starts = [self._starts[experience] for experience in samples[:, 0].tolist()]
        rows = torch.tensor(starts) + samples[:, 1]
        known = torch.stack([self.known(name, rows) for name in keys]).all(dim=0)
        self.reused += int(known.sum())
        self.computed += int((~known).sum())
        output = model.run(images, self._parts_of(model, images, rows, known, keys))
        if not bool(known.any()):
            self.put(rows, output.cacheable, keys)
        return output

    def _parts_of(
        self, model: ContinualModel, images: Tensor, rows: Tensor, known: Tensor, keys: Keys
    ) -> dict[str, Tensor]:
        """Parts of a batch of which some samples are known; those of the others are computed apart,
        unless it is all of them."""
        if not bool(known.any()):
            return {}
        old = known.nonzero()[:, 0]
        new = (~known).nonzero()[:, 0]
        parts = {name: self.get(name, rows[old]) for name in keys}
        if not len(new):
            return parts
        # What is cached is frozen, and no gradient passes through it.
        with torch.no_grad():
            computed = model.encode(images[new.to(images.device)], {}).parts
        self.put(rows[new], computed, keys)
        order = torch.cat([old, new]).argsort().to(images.device)
        return {name: torch.cat([parts[name], computed[name].float()])[order] for name in keys}

    def state_dict(self, keys: Keys) -> dict[str, Any]:
        """Values that a resumed run must not compute again, since in another batch they might be
        rounded otherwise: those of parts that have these versions."""
        parts = {
            name: (part.known.clone(), part.values[part.known.to(part.values.device)])
            for name, part in self._usable(keys).items()
        }
        return {
            "reused": self.reused,
            "computed": self.computed,
            "n": self._n,
            "starts": list(self._starts.items()),
            "parts": parts,
        }

    def load_state_dict(
        self, state: Mapping[str, Any], keys: Keys, device: torch.device | str
    ) -> None:
        """Inverse of :meth:`state_dict`, for a model in the state in which that was taken."""
        self.reused = int(state["reused"])
        self.computed = int(state["computed"])
        self._n = int(state["n"])
        self._starts = {int(experience): int(start) for experience, start in state["starts"]}
        self._parts = {}
        for name, (known, values) in state["parts"].items():
            if name in keys:
                whole = torch.zeros(len(known), values.shape[1], device=device)
                whole[known.to(device)] = values.to(device)
                self._parts[name] = _Part(keys[name], known.clone(), whole)

"""Feature cache: the frozen part of forward passes, computed once per sample."""

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.growth import padded
from cl_prompts.state import State

#: Bytes for the features of training images.
BUDGET = 2**30

Keys = Mapping[str, Hashable]


@dataclass
class _Part:
    """Values (rows, width) of a cacheable part, and which rows have one."""

    version: Hashable
    known: Tensor
    values: Tensor


class FeatureCache:
    """Cache of the frozen part of forward passes, by sample.

    A sample is one augmentation of an image; it has a row in the cache. The cached parts are those
    of :meth:`~cl_prompts.models.base.ContinualModel.cache_keys`: the query of a prompt method, the
    feature of a head on a frozen ViT, the logits of a finished lane. Results are exactly the same
    as without the cache.

    Args:
        budget: bytes for values; samples beyond it are computed at each pass. None: no limit.

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
        """Samples of training passes that were cached."""
        self._n = 0
        self._starts: dict[int, int] = {}
        self._parts: dict[str, _Part] = {}

    def reserve(self, experience: int, n: int) -> None:
        """Reserve rows for the ``n`` samples of an experience."""
        self._starts[experience] = self._n
        self._n += n

    def clear(self) -> None:
        """Remove all experiences and values."""
        self._n = 0
        self._starts = {}
        self._parts = {}

    def drop_outdated(self, keys: Keys) -> None:
        """Remove values of parts whose version has changed."""
        self._parts = {
            name: part
            for name, part in self._parts.items()
            if name in keys and keys[name] == part.version
        }

    def known(self, name: str, rows: Tensor) -> Tensor:
        """(n,) boolean on the CPU: rows (n,) that have a value of a part."""
        part = self._parts.get(name)
        if part is None:
            return torch.zeros(len(rows), dtype=torch.bool)
        inside = rows < len(part.known)
        return part.known[rows.clamp(max=len(part.known) - 1)] & inside

    def get(self, name: str, rows: Tensor) -> Tensor:
        """Values (n, width) of known rows (n,)."""
        values = self._parts[name].values
        return values[rows.to(values.device)]

    def put(self, rows: Tensor, values: Mapping[str, Tensor], keys: Keys) -> None:
        """Store the values (n, width) of rows (n,) that fit the budget."""
        names = sorted(values.keys() & keys.keys())
        room = self._n
        if self.budget is not None:
            # The first rows; features are fp32, 4 bytes, whatever the precision of the backbone.
            width = sum(values[name].shape[1] for name in names)
            room = min(room, self.budget // (4 * width))
        fits = (rows < room).nonzero()[:, 0]
        if not len(fits):
            return
        for name in names:
            new = values[name]
            if name not in self._parts:
                empty = torch.zeros(0, new.shape[1], device=new.device)
                self._parts[name] = _Part(keys[name], torch.zeros(0, dtype=torch.bool), empty)
            part = self._parts[name]
            if len(part.known) < room:
                part.known = padded(part.known, (room,))
                part.values = padded(part.values, (room, new.shape[1]))
            part.values[rows[fits].to(new.device)] = new[fits.to(new.device)].float()
            part.known[rows[fits]] = True

    def run(self, model: ContinualModel, images: Tensor, samples: Tensor) -> Output:
        """Run a training pass with cached parts.

        Args:
            model: the model in training.
            images: (batch, 3, size, size).
            samples: (batch, 2) experience and sample number in it.
        """
        keys = model.cache_keys()
        if not keys:
            return model.run(images)
        self.drop_outdated(keys)
        starts = [self._starts[experience] for experience in samples[:, 0].tolist()]
        rows = torch.tensor(starts) + samples[:, 1]
        known = torch.stack([self.known(name, rows) for name in keys]).all(dim=0)
        self.reused += int(known.sum())
        output = model.run(images, self._parts_of(model, images, rows, known, keys))
        if not bool(known.any()):
            self.put(rows, output.cacheable, keys)
        return output

    def _parts_of(
        self, model: ContinualModel, images: Tensor, rows: Tensor, known: Tensor, keys: Keys
    ) -> dict[str, Tensor]:
        """Parts of a batch with some known rows; the others are computed first."""
        if not bool(known.any()):
            return {}
        old = known.nonzero()[:, 0]
        new = (~known).nonzero()[:, 0]
        parts = {name: self.get(name, rows[old]) for name in keys}
        if not len(new):
            return parts
        # Cached parts carry no gradient.
        with torch.no_grad():
            computed = model.encode(images[new.to(images.device)], {}).parts
        self.put(rows[new], computed, keys)
        order = torch.cat([old, new]).argsort().to(images.device)
        return {name: torch.cat([parts[name], computed[name].float()])[order] for name in keys}

    def state_dict(self, keys: Keys) -> State:
        """State with the values of these versions.

        A resumed run needs the values: computed in another batch they might be rounded differently.
        """
        self.drop_outdated(keys)
        parts = {
            name: (part.known.clone(), part.values[part.known.to(part.values.device)])
            for name, part in self._parts.items()
        }
        return {
            "reused": self.reused,
            "n": self._n,
            "starts": list(self._starts.items()),
            "parts": parts,
        }

    def load_state_dict(self, state: State, keys: Keys, device: torch.device | str) -> None:
        """Load a state of :meth:`state_dict`; ``keys`` are those of the restored model."""
        self.reused = int(state["reused"])
        self._n = int(state["n"])
        self._starts = {int(experience): int(start) for experience, start in state["starts"]}
        self._parts = {}
        for name, (known, values) in state["parts"].items():
            if name in keys:
                whole = torch.zeros(len(known), values.shape[1], device=device)
                whole[known.to(device)] = values.to(device)
                self._parts[name] = _Part(keys[name], known.clone(), whole)

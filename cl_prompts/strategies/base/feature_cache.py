"""Feature cache: the frozen part of training passes, computed once for each view of a sample."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_prompts.models.base import ContinualModel, Encoding, Output
from cl_prompts.models.cached_parts import CachedPart
from cl_prompts.strategies.base.stream import Batch

#: bytes that cached parts may take in memory; what does not fit is computed each time
BUDGET = 2**30


class FeatureCache:
    """Cached parts of training passes, by experience, sample and view.

    Where the views of a sample come again (``views``), the parts of a pass that
    :meth:`~cl_prompts.models.base.ContinualModel.cache_keys` names are the same each time: the
    query of a prompt method, the feature of a head on a frozen ViT. They are computed once, which
    is exact. Samples without a cached part in a batch are encoded apart from the others. Further
    updates on the same views of a stream batch take over the whole first stage, embedded tokens
    included.

    Args:
        views: different views of each sample; None: views never come again, nothing is cached.
        budget: bytes that all cached parts may take in memory; those beyond it are computed at each
            pass.

    Example:
        >>> FeatureCache(views=1).reused
        0
    """

    def __init__(self, views: int | None, budget: int = BUDGET) -> None:
        self.views = views
        self.budget = budget
        self.reused = 0
        """Samples of training passes whose frozen work was cached."""
        self.computed = 0
        """Samples of training passes whose frozen work could be cached, and was computed."""
        self._lengths: dict[int, int] = {}
        self._parts: dict[tuple[int, str], CachedPart] = {}
        self._last: _Encoded | None = None

    def enter(self, source: int, n: int, *, replayed: bool) -> None:
        """Start an experience.

        Args:
            source: its number.
            n: its samples.
            replayed: earlier experiences are kept, since samples of theirs may come again.
        """
        self.leave(replayed=replayed)
        self._lengths[source] = n * (self.views or 0)

    def leave(self, *, replayed: bool) -> None:
        """Forget all experiences, unless samples of theirs may come again."""
        self.next_batch()
        if not replayed:
            self._lengths = {}
            self._parts = {}

    def next_batch(self) -> None:
        """Forget the first stage of the last update: the next one is on another stream batch."""
        self._last = None

    def close(self) -> None:
        """Forget everything: the run is finished."""
        self.leave(replayed=False)

    def run(self, model: ContinualModel, batch: Batch) -> Output:
        """Output of a training pass, with what is cached of it."""
        keys = model.cache_keys() if self.views is not None and batch.samples is not None else {}
        if not keys:
            return model.run(batch.images)
        assert batch.samples is not None
        samples = batch.samples
        # Parts under another key are of weights that have changed since.
        self._parts = {
            at: part for at, part in self._parts.items() if keys.get(at[1]) == part.version
        }
        # What is known of all samples spares the pass; of some, their rows of it.
        known = self._known(samples, keys)
        self.reused += int(known.sum())
        self.computed += int((~known).sum())
        last = self._last
        # Another update on the same views: the frozen part is the very same tensor.
        if last is not None and bool(known.all()) and last.is_of(samples, keys):
            return model.finish(last.encoding)
        encoding = self._encode(model, batch, known, keys)
        complete = keys.keys() <= encoding.parts.keys()
        self._last = _Encoded(samples, keys, encoding) if complete else None
        return model.finish(encoding)

    def _encode(
        self, model: ContinualModel, batch: Batch, known: Tensor, keys: dict[str, Hashable]
    ) -> Encoding:
        """The first stage of a pass, of which parts of the known samples are cached."""
        assert batch.samples is not None
        samples, images = batch.samples, batch.images
        if not bool(known.any()):
            encoding = model.encode(images, {})
            self._put(samples, encoding.parts, keys)
            return encoding
        missing = (~known).nonzero()[:, 0]
        computed: dict[str, Tensor] = {}
        if len(missing):
            # What is cached is frozen, and no gradient passes through it.
            with torch.no_grad():
                computed = model.encode(images[missing], {}).parts
            self._put(samples[missing], computed, keys)
        return model.encode(
            images,
            {name: self._values(name, samples, known, computed, images.device) for name in keys},
        )

    def state_dict(self, *, needed: bool) -> dict[str, Any]:
        """Cached parts that a resumed run must not compute again, since in another batch they might
        be rounded otherwise.

        Args:
            needed: whether any view that is cached now can come again.
        """
        parts = {
            f"{source}/{name}": (
                part.known.clone(),
                part.values[part.known.to(part.device)].clone(),
            )
            for (source, name), part in self._parts.items()
            if needed
        }
        return {
            "reused": self.reused,
            "computed": self.computed,
            "lengths": list(self._lengths.items()),
            "parts": parts,
        }

    def load_state_dict(self, state: dict[str, Any], model: ContinualModel) -> None:
        """Inverse of :meth:`state_dict`, for a model in the state in which that was taken."""
        self.reused = int(state["reused"])
        self.computed = int(state["computed"])
        self._lengths = {int(source): int(n) for source, n in state["lengths"]}
        self._parts = {}
        keys = model.cache_keys()
        for at, (known, values) in state["parts"].items():
            source, name = at.split("/", 1)
            part = CachedPart(keys[name], len(known), values.device)
            part.put(known.nonzero()[:, 0], values)
            self._parts[int(source), name] = part

    def _known(self, samples: Tensor, keys: dict[str, Any]) -> Tensor:
        """(batch,) samples of which every part is cached, on the CPU."""
        known = torch.ones(len(samples), dtype=torch.bool)
        for source, chosen in _by_source(samples):
            for name in keys:
                part = self._parts.get((source, name))
                known[chosen] &= part.known[samples[chosen, 1]] if part is not None else False
        return known

    def _put(self, samples: Tensor, values: Mapping[str, Tensor], keys: dict[str, Any]) -> None:
        """Keep parts of samples, as far as the budget reaches."""
        for source, chosen in _by_source(samples):
            for name in sorted(keys.keys() & values.keys()):
                part = self._part(source, name, keys[name], values[name])
                if part is not None:
                    part.put(samples[chosen, 1], values[name][chosen.to(values[name].device)])

    def _part(self, source: int, name: str, version: Any, values: Tensor) -> CachedPart | None:
        """The part of an experience, made if it fits."""
        if (source, name) not in self._parts:
            n = self._lengths.get(source, 0)
            # In fp32, of 4 bytes, whatever the precision of the backbone: features are.
            taken = sum(part.values.numel() for part in self._parts.values())
            if n and 4 * (taken + n * values.shape[1]) <= self.budget:
                self._parts[source, name] = CachedPart(version, n, values.device)
        return self._parts.get((source, name))

    def _values(
        self,
        name: str,
        samples: Tensor,
        known: Tensor,
        computed: Mapping[str, Tensor],
        device: torch.device,
    ) -> Tensor:
        """(batch, width) of one part: cached, or just computed for the samples not known."""
        found: dict[int, Tensor] = {}
        for source, chosen in _by_source(samples):
            mine = chosen[known[chosen]]
            if len(mine):
                values = self._parts[source, name].values
                found[source] = values[samples[mine, 1].to(values.device)].to(device)
        first = next(iter(found.values()))
        whole = first.new_empty(len(samples), first.shape[1])
        for source, values in found.items():
            mine = (known & (samples[:, 0] == source)).nonzero()[:, 0]
            whole[mine.to(whole.device)] = values  # numbers: for a mask a GPU would wait
        if name in computed:
            whole[(~known).nonzero()[:, 0].to(whole.device)] = computed[name].to(whole)
        return whole


@dataclass(frozen=True)
class _Encoded:
    """The first stage of a pass over views, valid while cache keys are the same."""

    samples: Tensor
    keys: dict[str, Hashable]
    encoding: Encoding

    def is_of(self, samples: Tensor, keys: dict[str, Hashable]) -> bool:
        """Whether it is that of these views, in this order."""
        return self.keys == keys and torch.equal(self.samples, samples)


def _by_source(samples: Tensor) -> list[tuple[int, Tensor]]:
    """Experiences that samples (batch, 2) come from, each with its places in the batch."""
    return [
        (source, (samples[:, 0] == source).nonzero()[:, 0])
        for source in samples[:, 0].unique().tolist()
    ]

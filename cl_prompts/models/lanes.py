"""Lanes of MULTI-LANE: selectors, prompts and head rows of one task each."""

from collections.abc import Hashable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LaneInitialisation = Literal["orthogonal", "uniform"]


class LaneHead(nn.Module):
    """Head rows of a few classes.

    Args:
        classes: data-set labels, one per row.
        dim: feature width.

    Example:
        >>> LaneHead([3, 5], dim=16).weight.shape
        torch.Size([2, 16])
    """

    classes: Tensor

    def __init__(self, classes: Sequence[int], dim: int) -> None:
        super().__init__()
        self.register_buffer("classes", torch.tensor(list(classes), dtype=torch.int64))
        self.weight = nn.Parameter(torch.zeros(len(classes), dim))
        self.bias = nn.Parameter(torch.zeros(len(classes)))


class Lane(nn.Module):
    """Parameters of one task; zero until they are initialised, copied or loaded.

    Args:
        n_selectors: selectors S.
        prompt_shape: (blocks, 2, heads, P, head dim); keys before values.
        dim: token width.

    Example:
        >>> lane = Lane(20, (5, 2, 4, 20, 4), dim=16)
        >>> heads = lane.heads.append(LaneHead([3, 5], dim=16))
        >>> lane.classes
        tensor([3, 5])
    """

    prompts: Tensor | None
    heads: list[LaneHead]
    """Head rows in the order of addition."""

    def __init__(self, n_selectors: int, prompt_shape: Sequence[int], dim: int) -> None:
        super().__init__()
        self.selectors = nn.Parameter(torch.zeros(n_selectors, dim))
        has_prompts = prompt_shape[0] > 0 and prompt_shape[3] > 0
        self.register_parameter(
            "prompts", nn.Parameter(torch.zeros(*prompt_shape)) if has_prompts else None
        )
        self.heads = nn.ModuleList()  # type: ignore[assignment]
        # A later lane or a copy may get the memory of a deleted lane.
        self._identity = object()

    @property
    def classes(self) -> Tensor:
        """(classes of this lane,) data-set labels, in the order of :meth:`logits`."""
        none = torch.empty(0, dtype=torch.int64, device=self.selectors.device)
        return torch.cat([none, *(head.classes for head in self.heads)])

    def logits(self, features: Tensor) -> Tensor:
        """(batch, dim) -> (batch, classes of this lane)."""
        found = [F.linear(features, head.weight, head.bias) for head in self.heads]
        return torch.cat([features[:, :0], *found], dim=1)

    def version(self) -> Hashable:
        """Version for caches; changes with every write to a parameter and new head rows."""
        # Torch has no public name for a tensor's version counter.
        writes = tuple((p.data_ptr(), p._version) for p in self.parameters())  # noqa: SLF001
        return self._identity, writes

    @torch.no_grad()
    def initialise(self, init: LaneInitialisation, scale: float) -> None:
        """Draw initial values; ``scale`` is that of orthogonal prompts."""
        if init == "uniform":
            nn.init.uniform_(self.selectors, -1, 1)
            if self.prompts is not None:
                nn.init.uniform_(self.prompts, -1, 1)
            return
        # One orthogonal row is a random direction of unit length, whatever its shape.
        nn.init.orthogonal_(self.selectors.view(1, -1))
        for prompts in () if self.prompts is None else self.prompts:
            nn.init.orthogonal_(prompts.view(2, -1), gain=scale)

"""Parameters of lanes: selectors, prompts and head rows of one task each, made on demand."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LaneInitialisation = Literal["orthogonal", "uniform"]

_serials = itertools.count()


class LaneHead(nn.Module):
    """Head rows of a few classes.

    Args:
        classes: data-set labels, one a row.
        dim: width of a feature.

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
    """The parameters of one task; all zero until they are initialised, copied or loaded.

    Args:
        n_selectors: selectors S.
        prompt_shape: (blocks, 2, heads, P, head dim); keys before values.
        dim: token width.

    Example:
        >>> lane = Lane(20, (5, 2, 4, 20, 4), dim=16)
        >>> lane.heads.append(LaneHead([3, 5], dim=16))
        ModuleList(...)
        >>> lane.classes
        tensor([3, 5])
    """

    prompts: Tensor | None
    heads: nn.ModuleList

    def __init__(self, n_selectors: int, prompt_shape: Sequence[int], dim: int) -> None:
        super().__init__()
        self.selectors = nn.Parameter(torch.zeros(n_selectors, dim))
        has_prompts = prompt_shape[0] > 0 and prompt_shape[3] > 0
        self.register_parameter(
            "prompts", nn.Parameter(torch.zeros(*prompt_shape)) if has_prompts else None
        )
        self.heads = nn.ModuleList()
        self._serial = next(_serials)

    @property
    def parts(self) -> list[LaneHead]:
        """Head rows in the order in which they were added."""
        return [cast(LaneHead, head) for head in self.heads]

    @property
    def classes(self) -> Tensor:
        """(classes of this lane,) data-set labels in the order of :meth:`logits`."""
        none = torch.empty(0, dtype=torch.int64, device=self.selectors.device)
        return torch.cat([none, *(head.classes for head in self.parts)])

    def logits(self, features: Tensor) -> Tensor:
        """(batch, dim) -> (batch, classes of this lane)."""
        return torch.cat(
            [F.linear(features, h.weight, h.bias) for h in self.parts] or [features[:, :0]], dim=1
        )

    def version(self) -> Hashable:
        """Version for caches: it changes whenever a parameter is written to or head rows are
        added."""
        # Torch has no public name for the counter of writes to a tensor.
        writes = tuple((p.data_ptr(), p._version) for p in self.parameters())  # noqa: SLF001
        return self._serial, writes

    @torch.no_grad()
    def initialise(self, init: LaneInitialisation, scale: float) -> None:
        """Draw initial values: see ``init`` of :class:`~cl_prompts.models.multi_lane.MultiLaneViT`;
        ``scale`` is for orthogonal prompts."""
        if init == "uniform":
            nn.init.uniform_(self.selectors, -1, 1)
            if self.prompts is not None:
                nn.init.uniform_(self.prompts, -1, 1)
            return
        nn.init.orthogonal_(self.selectors.view(1, -1))
        for prompts in () if self.prompts is None else self.prompts:
            nn.init.orthogonal_(prompts.view(2, -1), gain=scale)


class LaneSet(nn.ModuleList):
    """All lanes of a model, in the order in which they were opened; only the last one trains.

    Args:
        n_selectors: selectors S of each lane.
        prompt_shape: (blocks, 2, heads, P, head dim) of each lane.
        dim: token width.

    Example:
        >>> lanes = LaneSet(20, (5, 2, 4, 20, 4), dim=16)
        >>> for classes in ([0, 1], [2]):
        ...     lanes.open(torch.device("cpu"), init="uniform", scale=1.0, copy_previous=True)
        ...     head = lanes.add_head(classes)
        >>> lanes.owners(), lanes.lane(0).selectors.requires_grad
        ({0: 0, 1: 0, 2: 1}, False)
    """

    def __init__(self, n_selectors: int, prompt_shape: Sequence[int], dim: int) -> None:
        super().__init__()
        self.n_selectors = n_selectors
        self.prompt_shape = tuple(prompt_shape)
        self.dim = dim

    @property
    def lane_bytes(self) -> int:
        """Bytes of the selectors and prompts of one lane, in fp32."""
        return 4 * (self.n_selectors * self.dim + math.prod(self.prompt_shape))

    def __iter__(self) -> Iterator[Lane]:
        return cast(Iterator[Lane], super().__iter__())

    def lane(self, index: int) -> Lane:
        """One lane."""
        return cast(Lane, self[index])

    def open(
        self, device: torch.device, *, init: LaneInitialisation, scale: float, copy_previous: bool
    ) -> None:
        """Append a lane without classes, initialised or copied from the last one, and freeze the
        others."""
        lane = self._empty(device)
        if len(self) and copy_previous:
            before = self.lane(-1).state_dict()
            lane.load_state_dict({k: v for k, v in before.items() if not k.startswith("heads.")})
        else:
            lane.initialise(init, scale)
        self.append(lane)
        self.freeze_finished()

    def add_head(self, classes: Sequence[int]) -> LaneHead:
        """Head rows for further classes of the last lane: weights from a truncated normal of std
        0.02, biases 0."""
        head = LaneHead(classes, self.dim)
        nn.init.trunc_normal_(head.weight, std=0.02)  # on the CPU: no device waits or differs
        head.to(self.lane(-1).selectors.device)
        self.lane(-1).heads.append(head)
        return head

    def freeze_finished(self) -> None:
        """Freeze all lanes but the last, and drop their gradients."""
        for lane in list(self)[:-1]:
            lane.requires_grad_(False)
            for parameter in lane.parameters():
                parameter.grad = None

    def owners(self) -> dict[int, int]:
        """Lane of each class: class -> lane number."""
        return {label: i for i, lane in enumerate(self) for label in lane.classes.tolist()}

    def like(self, state: Mapping[str, Tensor], device: torch.device, prefix: str) -> LaneSet:
        """Lanes of the shapes that a state dict describes, all zero; mismatches are left for
        loading to report."""
        heads: dict[int, int] = {}  # lane -> number of heads
        for key in state:
            if match := re.fullmatch(
                re.escape(prefix) + r"(\d+)\.(?:selectors|heads\.(\d+)\.classes)", key
            ):
                lane = int(match[1])
                heads[lane] = max(heads.get(lane, 0), int(match[2] or -1) + 1)
        made = LaneSet(self.n_selectors, self.prompt_shape, self.dim)
        for i in sorted(heads):
            made.append(self._empty(device))
            for j in range(heads[i]):
                classes = state.get(f"{prefix}{i}.heads.{j}.classes", torch.empty(0))
                made.lane(-1).heads.append(LaneHead(classes.tolist(), self.dim).to(device))
        return made

    def _empty(self, device: torch.device) -> Lane:
        return Lane(self.n_selectors, self.prompt_shape, self.dim).to(device)

"""Lanes of MULTI-LANE: selectors, prompts and head rows of one task each."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as algebra

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
        # A later lane or a copy may get the memory of a deleted lane.
        self._identity = object()

    @property
    def parts(self) -> list[LaneHead]:
        """Head rows in the order of addition."""
        return [cast(LaneHead, head) for head in self.heads]

    @property
    def classes(self) -> Tensor:
        """(classes of this lane,) data-set labels, in the order of :meth:`logits`."""
        none = torch.empty(0, dtype=torch.int64, device=self.selectors.device)
        return torch.cat([none, *(head.classes for head in self.parts)])

    def logits(self, features: Tensor) -> Tensor:
        """(batch, dim) -> (batch, classes of this lane)."""
        return torch.cat(
            [F.linear(features, h.weight, h.bias) for h in self.parts] or [features[:, :0]], dim=1
        )

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


class LaneSet(nn.ModuleList):
    """All lanes of a model in order; only the last one trains.

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

    def __iter__(self) -> Iterator[Lane]:
        return cast(Iterator[Lane], super().__iter__())

    def lane(self, index: int) -> Lane:
        """One lane."""
        return cast(Lane, self[index])

    def open(
        self, device: torch.device, *, init: LaneInitialisation, scale: float, copy_previous: bool
    ) -> None:
        """Append a lane without classes, initialised or copied, and freeze the others."""
        lane = self._empty(device)
        if len(self) and copy_previous:
            before = self.lane(-1).state_dict()
            # Not the head, whose classes are others.
            lane.load_state_dict({k: v for k, v in before.items() if not k.startswith("heads.")})
        else:
            lane.initialise(init, scale)
        self.append(lane)
        self.freeze_finished()

    def add_head(self, classes: Sequence[int]) -> LaneHead:
        """Add head rows to the last lane: weights of std 0.02 (truncated normal), biases 0."""
        head = LaneHead(classes, self.dim)
        nn.init.trunc_normal_(head.weight, std=0.02)  # on the CPU: the same on every device
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
        """Class -> number of its lane."""
        return {label: i for i, lane in enumerate(self) for label in lane.classes.tolist()}

    def like(self, state: Mapping[str, Tensor], device: torch.device, prefix: str) -> LaneSet:
        """Make zero lanes with the shapes of a state dict; loading reports mismatches."""
        made = LaneSet(self.n_selectors, self.prompt_shape, self.dim)
        while f"{prefix}{len(made)}.selectors" in state:
            lane = self._empty(device)
            of_heads = f"{prefix}{len(made)}.heads."
            while (classes := state.get(f"{of_heads}{len(lane.heads)}.classes")) is not None:
                lane.heads.append(LaneHead(classes.tolist(), self.dim).to(device))
            made.append(lane)
        return made

    def _empty(self, device: torch.device) -> Lane:
        return Lane(self.n_selectors, self.prompt_shape, self.dim).to(device)


class LanePasses:
    """Forward pass of several lanes beside one frozen forward pass.

    The algebra is in :mod:`cl_prompts.models.multi_lane_ops`.

    Args:
        backbone: the frozen ViT.
        blocks: prompted blocks, in order.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> backbone = create_backbone()
        >>> lanes = [Lane(2, (1, 2, 4, 3, 32), backbone.dim) for _ in range(4)]
        >>> passes = LanePasses(backbone, (0,))
        >>> tuple(passes(torch.rand(5, 3, 32, 32), lanes).shape)
        (5, 4, 128)
    """

    def __init__(self, backbone: FrozenViT, blocks: Sequence[int]) -> None:
        self.backbone = backbone
        self.blocks = tuple(blocks)
        self.dtype = backbone.vit.cls_token.dtype

    def __call__(self, images: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """Run T lanes on images.

        Args:
            images: (batch, 3, size, size) in [0, 1].
            lanes: T lanes.

        Returns:
            (batch, T, dim) class tokens of the lanes after the last block.
        """
        self._count(len(images), lanes)
        # (S, T, dim), and block -> (P, T, 2 * heads * head dim)
        selectors = torch.stack([lane.selectors for lane in lanes], dim=1).to(self.dtype)
        prompts = self._prompts(lanes)
        rows = algebra.joined_start(self.backbone, selectors, len(images))
        stream = algebra.frozen_states(self.backbone, images)
        for i, block in enumerate(self.backbone.vit.blocks):
            # No block reads the selectors after the last one.
            evolve = i < self.backbone.depth - 1
            state = next(stream)
            rows = algebra.lanes_block(block, rows, state, prompts.get(i), evolve=evolve)
            del state  # frees memory before the next block
        return rows

    def _prompts(self, lanes: Sequence[Lane]) -> dict[int, Tensor]:
        """Block -> prompts in the ViT's precision."""
        values = [lane.prompts for lane in lanes if lane.prompts is not None]
        if not values:
            return {}
        # (blocks, lanes, 2, heads, length, width)
        stacked = torch.stack(values, dim=1).to(self.dtype).permute(0, 4, 1, 2, 3, 5).flatten(3)
        return dict(zip(self.blocks, stacked.unbind(), strict=True))

    def _count(self, batch: int, lanes: Sequence[Lane]) -> None:
        """Count the cost of the lanes' own tokens, and of the selectors, which images share."""
        shape, first = self.backbone.counter.shape, lanes[0]
        n_prompts = 0 if first.prompts is None else first.prompts.shape[3]
        for i in range(self.backbone.depth):
            macs = shape.lane_macs(len(first.selectors), n_prompts if i in self.blocks else 0)
            self.backbone.counter.macs += batch * len(lanes) * macs
        self.backbone.counter.macs += len(lanes) * shape.slot_table_macs(len(first.selectors))

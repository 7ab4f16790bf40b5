"""Passes of MULTI-LANE's lanes beside a frozen ViT: images in, a class token of each lane out."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from cl_prompts.backbones import ranks
from cl_prompts.backbones.split_passes import split
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models import multi_lane_ops as algebra
from cl_prompts.models.multi_lane_ops import SlotUpdate
from cl_prompts.models.multi_lane_parameters import Lane

Tables = tuple[list[Tensor], dict[int, Tensor]]
Formulation = Literal["fused", "literal"]


class LanePasses:
    """Any lanes side by side on one frozen forward, by either formulation of
    :mod:`cl_prompts.models.multi_lane_ops`.

    Without gradients the tables that do not depend on images (selectors of every block, prompts)
    are cached until a lane changes. With several ranks each runs its share of the images.

    Args:
        backbone: the frozen ViT.
        blocks: blocks with prompts, in order.
        impl, drop_and_replace, slot_update: see
            :class:`~cl_prompts.models.multi_lane.MultiLaneViT`.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> backbone = create_backbone()
        >>> lanes = [Lane(2, (1, 2, 4, 3, 32), backbone.dim) for _ in range(4)]
        >>> passes = LanePasses(backbone, (0,))
        >>> tuple(passes(torch.rand(5, 3, 32, 32), lanes).shape)
        (5, 4, 128)
    """

    def __init__(
        self,
        backbone: FrozenViT,
        blocks: Sequence[int],
        *,
        impl: Formulation = "fused",
        drop_and_replace: bool = True,
        slot_update: SlotUpdate = "released",
    ) -> None:
        self.backbone = backbone
        self.blocks = tuple(blocks)
        self.impl = impl
        self.drop_and_replace = drop_and_replace
        self.slot_update = slot_update
        self._cached: tuple[tuple[Hashable, ...], Tables] | None = None

    def __call__(self, images: Tensor, lanes: Sequence[Lane]) -> Tensor:
        """Run lanes on images.

        Args:
            images: (batch, 3, size, size) in [0, 1].
            lanes: T lanes.

        Returns:
            (batch, T, dim) class tokens of the lanes behind the last block.
        """
        return (
            self._literal(images, lanes) if self.impl == "literal" else self._fused(images, lanes)
        )

    # ------------------------------------------------------------------ formulations

    def _fused(self, images: Tensor, lanes: Sequence[Lane]) -> Tensor:
        slots, prompts = self.tables(lanes)

        def run(images: Tensor, *tables: Tensor) -> Tensor:
            mine = dict(zip(prompts, tables[len(slots) :], strict=True))
            return self._fused_blocks(images, tables[: len(slots)], mine)

        return self._on_shares(run, images, [*slots, *prompts.values()])

    def _fused_blocks(
        self, images: Tensor, slots: Sequence[Tensor], prompts: Mapping[int, Tensor]
    ) -> Tensor:
        n_lanes, n_selectors = slots[0].shape[:2]
        token = algebra.lane_token(self.backbone).expand(len(images), n_lanes, -1)
        stream = algebra.frozen_states(self.backbone, images)
        counter = self.backbone.counter
        for i, block in enumerate(self.backbone.vit.blocks):
            state = next(stream)
            token = algebra.fused_lanes(block, token, state, slots[i], prompts.get(i))
            del state  # frees memory before the next block
            macs = counter.shape.fused_lane_macs(n_selectors, length_of(prompts.get(i)))
            counter.macs += len(images) * n_lanes * macs
        return token

    def _literal(self, images: Tensor, lanes: Sequence[Lane]) -> Tensor:
        selectors = self.selectors(lanes)
        prompts = self.prompts(lanes)

        def run(images: Tensor, selectors: Tensor, *tables: Tensor) -> Tensor:
            return self._literal_blocks(images, selectors, dict(zip(prompts, tables, strict=True)))

        return self._on_shares(run, images, [selectors, *prompts.values()])

    def _literal_blocks(
        self, images: Tensor, selectors: Tensor, prompts: Mapping[int, Tensor]
    ) -> Tensor:
        n_lanes, n_selectors = selectors.shape[:2]
        start = tokens = algebra.literal_start(self.backbone, selectors, len(images))
        stream = algebra.frozen_states(self.backbone, images)
        replace = self.drop_and_replace
        counter = self.backbone.counter
        for i, block in enumerate(self.backbone.vit.blocks):
            if self.slot_update == "reset":
                tokens = torch.cat([tokens[:, :, :1], start[:, :, 1:]], dim=2)
            look = replace or i == 0
            entering, normed = algebra.literal_input(block, tokens, next(stream), summarise=look)
            tokens = algebra.literal_block(
                block, tokens, entering, normed, prompts.get(i), replace=replace
            )
            macs = counter.shape.literal_lane_macs(
                n_selectors, length_of(prompts.get(i)), summarise=look
            )
            counter.macs += len(images) * n_lanes * macs
        return tokens[:, :, 0]

    def _on_shares(
        self, run: Callable[..., Tensor], images: Tensor, tables: list[Tensor]
    ) -> Tensor:
        """Run lanes on all images; with several ranks, each on its share."""
        if not ranks.is_distributed() or not len(images):
            return run(images, *tables)
        return split(run, [images], tables, counter=self.backbone.counter)

    # ------------------------------------------------------------------ what no image changes

    def selectors(self, lanes: Sequence[Lane]) -> Tensor:
        """(T, S, dim) in the ViT's precision."""
        dtype = self.backbone.vit.cls_token.dtype
        return torch.stack([lane.selectors for lane in lanes]).to(dtype)

    def prompts(self, lanes: Sequence[Lane]) -> dict[int, Tensor]:
        """Block -> (T, 2, heads, P, head dim) in the ViT's precision; empty without prompts."""
        values = [lane.prompts for lane in lanes if lane.prompts is not None]
        if not values:
            return {}
        stacked = torch.stack(values, dim=1).to(self.backbone.vit.cls_token.dtype)
        return dict(zip(self.blocks, stacked, strict=True))

    def tables(self, lanes: Sequence[Lane]) -> Tables:
        """Normalised selectors of every block and stacked prompts; without gradients they are
        cached until a lane changes."""
        key = tuple(lane.version() for lane in lanes)
        keep = not torch.is_grad_enabled()
        if keep and self._cached is not None and self._cached[0] == key:
            return self._cached[1]
        selectors = self.selectors(lanes)
        slots = algebra.slot_norms(self.backbone.vit.blocks, selectors, self.slot_update)
        counter = self.backbone.counter
        macs = counter.shape.slot_table_macs(
            selectors.shape[1], evolve=self.slot_update == "released"
        )
        counter.macs += len(lanes) * macs
        tables = slots, self.prompts(lanes)
        self._cached = (key, tables) if keep else None
        return tables

    def prepared(self, lanes: Sequence[Lane]) -> list[int]:
        """Which of these lanes have cached tables; none if one of those cached has changed."""
        if self._cached is None:
            return []
        numbers = {lane.version(): i for i, lane in enumerate(lanes)}
        found = [numbers.get(version) for version in self._cached[0]]
        return [] if None in found else [i for i in found if i is not None]


def length_of(prompts: Tensor | None) -> int:
    """Prompts P of a lane in a block."""
    return 0 if prompts is None else prompts.shape[-2]

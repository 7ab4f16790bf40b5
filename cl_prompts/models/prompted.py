"""Prompts on a frozen ViT: the engine that puts query, selector, pools, head and masks together."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.heads import InstanceLogitMask, linear_head
from cl_prompts.prompts.pools import Pool, PrependedTokenPool
from cl_prompts.prompts.selectors import ClassTokenQuery, Selection, Selector


class PromptedViT(ContinualModel):
    """Prompts on a frozen ViT, with a linear head over all classes of the data set. Everything but
    the backbone is in fp32.

    What depends on the frozen backbone alone (the query, or the features where there are no
    prompts) is :meth:`frozen_part`, cached under the name ``"frozen"``.

    Args:
        backbone: the frozen ViT; a thawed one makes a fine-tuning model.
        n_classes: classes of the data set; head row = data-set label.
        query: how the query is read; only used with a selector.
        selector: chooses prompts, or None.
        pools: prompts, injected in this order.
        logit_mask: learned mask on the logits by selection, or None.
        readout: ``"token"``, the class token, or ``"prompt"``, the mean over the prepended tokens
            (L2P).
        multi_label: an image may show several classes.
    """

    query: ClassTokenQuery
    selector: nn.Module | None
    logit_mask: InstanceLogitMask | None

    def __init__(
        self,
        backbone: FrozenViT,
        n_classes: int,
        *,
        query: ClassTokenQuery | None = None,
        selector: nn.Module | None = None,
        pools: Sequence[nn.Module] = (),
        logit_mask: InstanceLogitMask | None = None,
        readout: str = "token",
        multi_label: bool = False,
    ) -> None:
        if selector is not None and backbone.trainable:
            raise InputError("a selector needs a frozen backbone to query: this one is thawed")
        if (selector is not None or logit_mask is not None) and not pools:
            raise InputError("a selector or a logit mask has no effect without a pool: give pools")
        if readout not in ("token", "prompt"):
            raise unknown("readout", readout, ("token", "prompt"))
        if readout == "prompt" and not any(isinstance(pool, PrependedTokenPool) for pool in pools):
            raise InputError(
                "readout 'prompt' reads prepended tokens, and no pool makes any: add a"
                " PrependedTokenPool or read 'token'"
            )
        super().__init__(backbone, n_classes, multi_label=multi_label)
        self.readout = readout
        self.query, self.selector, self.logit_mask = (
            query or ClassTokenQuery(),
            selector,
            logit_mask,
        )
        self.pools = nn.ModuleList(pools)
        self.head = linear_head(backbone.dim, n_classes)

    @property
    def reads_images(self) -> bool:
        """Whether :meth:`run` still needs the images once :meth:`frozen_part` is known."""
        return self.backbone.trainable or len(self.pools) > 0

    def needs_images(self, cached: Collection[str]) -> bool:
        """Only a head on frozen features can do without."""
        return self.reads_images or "frozen" not in cached

    def cache_keys(self) -> dict[str, Hashable]:
        """The frozen part lasts as long as backbone and query stay the same objects."""
        if self.backbone.trainable or (self.pools and self.selector is None):
            return {}
        return {"frozen": (self.backbone, self.query if self.reads_images else None)}

    @torch.no_grad()
    def frozen_part(self, images: Tensor) -> Tensor | None:
        """(batch, dim) fp32 that depends on images and frozen weights alone; None if there is no
        such thing."""
        return self._frozen_part(self.backbone.embed(images))

    @torch.no_grad()
    def _frozen_part(self, tokens: Tensor, entry: Tensor | None = None) -> Tensor | None:
        if not self.cache_keys():
            return None
        return (
            self.query(self.backbone, tokens, entry)
            if self.reads_images
            else self.backbone.class_features(tokens)
        )

    def run(self, images: Tensor | None, cached: Mapping[str, Tensor] | None = None) -> Output:
        """A forward pass: query, selection, prompts, prompted pass, head."""
        frozen = (cached or {}).get("frozen")
        if frozen is not None and not self.reads_images:
            return self.classify(frozen, frozen)
        if images is None:
            raise TypeError("this model reads images even when their frozen part is known")
        tokens, entry = self.backbone.embed(images), None
        if frozen is None:
            # Query pass and prompted pass begin with the same projection.
            entry = self.backbone.enter(tokens) if self.selector is not None else None
            frozen = self._frozen_part(tokens, entry)
        if not self.reads_images:
            assert frozen is not None
            return self.classify(frozen, frozen)
        selection = None
        if self.selector is not None:
            assert frozen is not None
            selection = cast(Selector, self.selector)(frozen)
        plan = PromptPlan()
        for pool in self.pools:
            plan.add(cast(Pool, pool).build(selection))
        read = (
            self.backbone.class_features
            if self.readout == "token"
            else self.backbone.prepended_features
        )
        return self.classify(read(tokens, plan, entry=entry), frozen, selection)

    def classify(
        self, features: Tensor, frozen: Tensor | None = None, selection: Selection | None = None
    ) -> Output:
        """Head and masks on features (batch, dim)."""
        mask = (
            self.logit_mask(selection)
            if self.logit_mask is not None and selection is not None
            else None
        )
        logits = self.head(features)
        logits = logits if mask is None else logits * mask
        return Output(
            self.hide_unseen(logits),
            features,
            selection,
            mask,
            {} if frozen is None else {"frozen": frozen},
        )

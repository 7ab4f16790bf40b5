"""The engine that puts query, selector, pools, frozen ViT, read-out, head and masks together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from cl_prompts.backbone import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.heads import InstanceLogitMask, linear_head, mask_unseen
from cl_prompts.injection import PromptPlan
from cl_prompts.pools import Pool
from cl_prompts.selectors import ClassTokenQuery, NearestKeys, Selection


@dataclass
class Output:
    """One forward pass.

    Attributes:
        logits: (batch, classes), instance mask applied, -inf for unseen classes.
        features: (batch, dim) fp32 features that the head read.
        selection: what the selector chose, or None without a selector.
        mask: (batch, classes) instance-wise logit mask, or None.
        frozen: (batch, dim) what :meth:`PromptedViT.frozen_part` gives, or None.
    """

    logits: Tensor
    features: Tensor
    selection: Selection | None = None
    mask: Tensor | None = None
    frozen: Tensor | None = None


class PromptedViT(nn.Module):
    """Prompts on a frozen ViT, with a linear head over all classes of the data set.

    ``model(images)`` gives logits (batch, n_classes): no task id, no dependence on batch mates. Classes never seen in
    training score -inf; :meth:`see` opens them. Everything but the backbone is in fp32.

    What depends on the frozen backbone alone (the query, or the features where there are no prompts) is
    :meth:`frozen_part`; it can be computed once for a fixed image and handed back to :meth:`run`, which is exact and saves
    a pass.

    Args:
        backbone: the frozen ViT; a thawed one makes a fine-tuning model.
        n_classes: classes of the data set; head row = data-set label.
        query: how the query is read; only used with a selector.
        selector: chooses prompts, or None.
        pools: prompts, injected in this order.
        logit_mask: learned mask on the logits by selection, or None.
    """

    seen: Tensor
    query: ClassTokenQuery
    selector: NearestKeys | None
    logit_mask: InstanceLogitMask | None
    backbone: FrozenViT

    def __init__(
        self,
        backbone: FrozenViT,
        n_classes: int,
        *,
        query: ClassTokenQuery | None = None,
        selector: NearestKeys | None = None,
        pools: Sequence[nn.Module] = (),
        logit_mask: InstanceLogitMask | None = None,
    ) -> None:
        super().__init__()
        if selector is not None and backbone.trainable:
            raise InputError("a selector needs a frozen backbone to query: this one is thawed")
        if (selector is not None or logit_mask is not None) and not pools:
            raise InputError("a selector or a logit mask has no effect without a pool: give pools")
        if n_classes < 1:
            raise InputError(f"n_classes is {n_classes}: a head needs at least one class")
        self.backbone, self.query, self.selector, self.logit_mask = (
            backbone,
            query or ClassTokenQuery(),
            selector,
            logit_mask,
        )
        self.pools = nn.ModuleList(pools)
        self.head = linear_head(backbone.dim, n_classes)
        self.register_buffer("seen", torch.zeros(n_classes, dtype=torch.bool))

    @property
    def n_classes(self) -> int:
        """Columns of the head."""
        return int(self.head.out_features)

    @property
    def reads_images(self) -> bool:
        """Whether :meth:`run` still needs the images once :meth:`frozen_part` is known."""
        return self.backbone.trainable or len(self.pools) > 0

    def see(self, labels: Tensor) -> None:
        """Open the classes that occur in ``labels`` (any shape, int64)."""
        self.seen[labels.flatten()] = True

    @torch.no_grad()
    def frozen_part(self, images: Tensor) -> Tensor | None:
        """(batch, dim) fp32 that depends on images and frozen weights alone; None if there is no such thing."""
        return self._frozen_part(self.backbone.embed(images))

    @torch.no_grad()
    def _frozen_part(self, tokens: Tensor, entry: Tensor | None = None) -> Tensor | None:
        if self.backbone.trainable or (self.pools and self.selector is None):
            return None
        return self.query(self.backbone, tokens, entry) if self.reads_images else self.backbone.class_features(tokens)

    def run(self, images: Tensor | None, frozen: Tensor | None = None) -> Output:
        """A forward pass.

        Args:
            images: (batch, 3, size, size) in [0, 1]; may be None if ``frozen`` is given and ``reads_images`` is false.
            frozen: stored :meth:`frozen_part` of the same images.
        """
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
        selection = None if self.selector is None else self.selector(frozen)
        plan = PromptPlan()
        for pool in self.pools:
            plan.add(cast(Pool, pool).build(selection))
        return self.classify(self.backbone.class_features(tokens, plan, entry=entry), frozen, selection)

    def classify(self, features: Tensor, frozen: Tensor | None = None, selection: Selection | None = None) -> Output:
        """Head and masks on features (batch, dim)."""
        mask = self.logit_mask(selection) if self.logit_mask is not None and selection is not None else None
        logits = self.head(features)
        logits = logits if mask is None else logits * mask
        return Output(mask_unseen(logits, self.seen), features, selection, mask, frozen)

    def forward(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1] -> logits (batch, n_classes), -inf for unseen classes."""
        return self.run(images).logits

    def learned_state(self) -> dict[str, Tensor]:
        """All state that is not the frozen backbone's: prompts, keys, counts, masks, head, seen classes."""
        state = self.state_dict()
        return {k: v for k, v in state.items() if self.backbone.trainable or not k.startswith("backbone.")}

    def load_learned_state(self, state: dict[str, Tensor]) -> None:
        """Inverse of :meth:`learned_state`.

        Raises:
            InputError: the state belongs to another model (which keys).
        """
        mine = self.learned_state()
        wrong = sorted(set(mine) ^ set(state)) or sorted(k for k in mine if mine[k].shape != state[k].shape)
        if wrong:
            raise InputError(
                f"the saved state does not fit this model: {', '.join(wrong[:3])} differ ({len(wrong)} in all)"
            )
        self.load_state_dict(state, strict=False)

    def save(self, path: str | Path) -> None:
        """Write :meth:`learned_state` as safetensors; the frozen backbone is left out."""
        about = {"n_classes": self.n_classes, "dim": self.backbone.dim, "trainable_backbone": self.backbone.trainable}
        state = {k: v.detach().cpu().contiguous() for k, v in self.learned_state().items()}
        temporary = Path(f"{path}.tmp")
        save_file(state, str(temporary), metadata={"cl_prompts": json.dumps(about)})
        temporary.replace(path)

    def load(self, path: str | Path) -> None:
        """Read what :meth:`save` wrote into a model of the same construction.

        Raises:
            InputError: missing file or a state that does not fit.
        """
        if not Path(path).is_file():
            raise InputError(f"there is no saved model at {path}")
        with safe_open(str(path), framework="pt") as file:
            self.load_learned_state({k: file.get_tensor(k) for k in file.keys()})  # noqa: SIM118

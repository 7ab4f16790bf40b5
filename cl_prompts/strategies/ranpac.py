"""RanPAC on frozen features: ridge regression on random projections."""

from __future__ import annotations

from typing import Any

import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.ranpac import RanPAC
from cl_prompts.strategies.base.prototype import PrototypeStrategy, prototype_vit


class RanPACProbe(PrototypeStrategy):
    """RanPAC (McDonnell et al., NeurIPS 2023, arXiv 2307.02251) without its first phase, as a probe
    of frozen features.

    ``h = relu(f R)`` of the class token f with R ~ N(0, 1), dim x ``projection``, drawn once;
    scores ``h W`` with ``W = (H'H + ridge I)^-1 H'Y`` over all samples so far. H'H and H'Y are
    sums, so the stream's solution is the batch solution. Published: projection 10,000, the ridge
    chosen at each task among 10^-8 .. 10^8 by the squared error on held-out samples.

    Here the ridge is chosen at each announced task end, or every ``period`` samples where none is
    announced, on ``held_out`` samples drawn uniformly from the stream so far; with ``held_out=0``,
    or without announced boundaries and period, it stays as given.

    Costs: H'H holds projection^2 numbers, 800 MB at 10,000, and so does each checkpoint. W is
    solved for at each evaluation,
    and 17 times when a ridge is chosen: half a minute each on two CPU cores at 10,000, a fraction
    of a second at 2,000. Training batches are therefore not scored unless ``training_scores`` asks
    for it.

    Deviations: the paper first tunes adapters or prompts on the first task; held-out samples are a
    fifth of each task there.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prototype.PrototypeViT`.
        projection: random features.
        ridge: until one is chosen.
        held_out: samples on which a ridge is chosen; their features are kept. 0: no choice.
        training_scores: see :class:`~cl_prompts.strategies.base.prototype.PrototypeStrategy`.
        seed: of R, of the held-out sample and of what all strategies draw.
        device: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **common: see :class:`~cl_prompts.strategies.base.prototype.PrototypeStrategy`.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PrototypeViT | None = None,
        projection: int = 10_000,
        ridge: float = 1e4,
        held_out: int = 1000,
        training_scores: bool = False,
        seed: int = 0,
        device: str | torch.device = "auto",
        **common: Any,
    ) -> None:
        if model is None:
            model = prototype_vit(
                RanPAC,
                backbone,
                n_classes,
                device,
                projection=projection,
                ridge=ridge,
                held_out=held_out,
                seed=seed,
            )
        super().__init__(
            model=model, device=device, training_scores=training_scores, seed=seed, **common
        )

    def finish_task(self) -> None:
        """Choose the ridge anew."""
        head = self.model.head
        if isinstance(head, RanPAC) and len(head.held):
            head.choose_ridge()

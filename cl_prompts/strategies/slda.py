"""Streaming linear discriminant analysis on frozen features."""

from __future__ import annotations

from typing import Any

import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import StreamingLDA
from cl_prompts.strategies.base.prototype import PrototypeStrategy, prototype_vit


class SLDA(PrototypeStrategy):
    """Deep SLDA (Hayes and Kanan, CVPR-W 2020, arXiv 1909.01520).

    Running class means ``mu_c`` of the class token and one covariance S shared by all classes; with
    ``L = ((1 - e) S + e I)^-1`` the score of class c is ``x L mu_c - mu_c L mu_c / 2``. Published:
    ``e = 1e-4``.

    Deviation: the covariance is kept exactly, about the final class means, so that the stream's
    solution is the batch solution (see
    :class:`~cl_prompts.models.prototype_classifiers.StreamingLDA`); nothing is initialised from a
    base phase.

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prototype.PrototypeViT`.
        shrinkage: e, in (0, 1].
        device: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **common: see :class:`~cl_prompts.strategies.base.prototype.PrototypeStrategy`.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PrototypeViT | None = None,
        shrinkage: float = 1e-4,
        device: str | torch.device = "auto",
        **common: Any,
    ) -> None:
        if model is None:
            model = prototype_vit(StreamingLDA, backbone, n_classes, device, shrinkage=shrinkage)
        super().__init__(model=model, device=device, **common)

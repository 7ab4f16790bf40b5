"""Nearest class mean on frozen features: the baseline that costs nothing."""

from __future__ import annotations

from typing import Any

import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.models.prototype_classifiers import NearestClassMean
from cl_prompts.strategies.base.prototype import PrototypeStrategy, prototype_vit


class NCM(PrototypeStrategy):
    """Nearest class mean (Mensink et al., TPAMI 2013; on frozen ViTs: Janson et al., 2022, arXiv
    2210.04428).

    ``mu_c`` is the running mean of the class token over the samples of class c; an image belongs to
    the class of greatest cosine with ``mu_c``, or of least squared distance. There is nothing to
    set but the metric.

    Deviation: Mensink et al. learn a metric as well, and Janson et al. compare ViTs by squared
    distance; the cosine is what later work on frozen ViTs uses (SimpleCIL: Zhou et al., IJCV 2024,
    arXiv 2303.07338).

    Args:
        backbone: the frozen ViT; with ``n_classes`` builds the model.
        n_classes: classes of the data set.
        model: instead of the two, a :class:`~cl_prompts.models.prototype.PrototypeViT`.
        metric: ``"cosine"`` or ``"euclidean"``.
        device: see :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        **common: see :class:`~cl_prompts.strategies.base.prototype.PrototypeStrategy`.
    """

    def __init__(
        self,
        *,
        backbone: FrozenViT | None = None,
        n_classes: int | None = None,
        model: PrototypeViT | None = None,
        metric: str = "cosine",
        device: str | torch.device = "auto",
        **common: Any,
    ) -> None:
        if model is None:
            model = prototype_vit(NearestClassMean, backbone, n_classes, device, metric=metric)
        super().__init__(model=model, device=device, **common)

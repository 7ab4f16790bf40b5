"""Self-regulation: prompted features and logits held to those of the frozen ViT."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from torch import Tensor

from cl_prompts.checks import NotNegative, Positive
from cl_prompts.errors import InputError
from cl_prompts.losses.self_regulation import cosine_consistency, logit_divergence, row_difference
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.prompts.selectors import ClassTokenQuery
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.prompt_writing import PromptWriting

Regulation = Literal["none", "promptsrc", "coprompt"]

#: Width of CLIP's features, for which the published weights are.
CLIP_DIM = 512


class SelfRegulation(PromptWriting):
    """Base of the methods whose prompted features can be held to frozen ones (PromptSRC, ICCV 2023,
    arXiv 2307.06948; CoPrompt, ICLR 2024), published for CLIP.

    ``regulation="promptsrc"`` adds ``l_f mean |f - q|`` on features f and frozen features q of unit
    length, ``l_w mean |W - W0|`` on class rows of unit length, and ``l_z`` times the divergence of
    the head's softmax from that of the frozen classifier, ``s cos(q, W0)``. ``"coprompt"`` adds
    ``l_f (1 - cos(f, q)) + l_w (1 - cos(W, W0))`` instead, without the published adapters and with
    q of the same view. There is no text tower, so W0 are the running class means of q; classes
    without a mean are left out. The frozen features cost another forward pass where the method has
    no query, or one that is read elsewhere.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, regulation="promptsrc", device="cpu")
        >>> one.feature_weight  # 10, scaled by the width
        2.5
    """

    regulation: Regulation = "none"
    """``"none"``, or terms of loss that hold prompted features to frozen ones: ``"promptsrc"`` or
    ``"coprompt"``, see the class."""
    regulation_features: NotNegative | None = None
    """Weight l_f of the term on features; None: the published 10 (times the width / 512, since it
    is a mean over the width) or 8."""
    regulation_classes: NotNegative = 0.0
    """Weight l_w of the term on class rows, meant for a cosine head; published: 25 (times the width
    / 512) or 8."""
    regulation_logits: NotNegative = 1.0
    """Weight l_z of PromptSRC's term on logits."""
    regulation_scale: Positive = 10.0
    """Scale s of the frozen classifier's cosines; CLIP's is 100."""

    class_counts: Tensor
    """(classes,) samples in the running means."""
    class_means: Tensor
    """(classes, dim) running means of frozen features."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        n, dim = (self.model.n_classes, self.model.backbone.dim) if self.regulated else (0, 0)
        self.class_counts = torch.zeros(n, device=self.device)
        self.class_means = torch.zeros(n, dim, device=self.device)

    @property
    def regulated(self) -> bool:
        """Whether there are such terms."""
        return self.regulation != "none"

    @property
    def feature_weight(self) -> float:
        """Weight of the term on features."""
        if self.regulation_features is not None:
            return self.regulation_features
        width: int = self.model.backbone.dim
        return 10.0 * width / CLIP_DIM if self.regulation == "promptsrc" else 8.0

    def check_labels_of(self, model: ContinualModel) -> None:
        """Refuse self-regulation of a multi-label model."""
        super().check_labels_of(model)
        if model.multi_label and self.regulated:
            raise InputError(
                "regulation compares softmaxes and takes means of single classes, and images of"
                " several have neither: leave it out"
            )

    def regularisation(self, output: Output, batch: Batch) -> Tensor | None:
        """The terms on features, class rows and logits."""
        if not self.regulated:
            return super().regularisation(output, batch)
        frozen = self.frozen_features(output, batch)
        self._take_in(frozen[: batch.n_stream], batch.labels[: batch.n_stream])
        known, rows = self.class_counts > 0, self.model.head.weight
        assert output.raw is not None
        if self.regulation == "coprompt":
            loss = self.feature_weight * cosine_consistency(output.raw, frozen)
            if self.regulation_classes:
                classes = cosine_consistency(rows, self.class_means, known)
                loss = loss + self.regulation_classes * classes
            return loss
        loss = self.feature_weight * row_difference(output.raw, frozen)
        if self.regulation_classes:
            classes = row_difference(rows, self.class_means, known)
            loss = loss + self.regulation_classes * classes
        if self.regulation_logits:
            means = F.normalize(self.class_means, dim=-1)
            teacher = self.regulation_scale * F.normalize(frozen, dim=-1) @ means.T
            divergence = logit_divergence(output.logits, teacher, known)
            loss = loss + self.regulation_logits * divergence
        return loss

    def frozen_features(self, output: Output, batch: Batch) -> Tensor:
        """(batch, dim) final-norm class tokens of the unprompted ViT: the query, where it is
        that."""
        if self.model.selector is not None and self.model.query == ClassTokenQuery():
            known: Tensor | None = output.cacheable.get("frozen")
            if known is not None:
                return known
        with torch.no_grad():
            vit = self.model.backbone
            frozen: Tensor = vit.class_features(vit.embed(batch.images)).float()
            return frozen

    @torch.no_grad()
    def _take_in(self, frozen: Tensor, labels: Tensor) -> None:
        """Add features of the stream to the running means of their classes."""
        counts = torch.zeros_like(self.class_counts).index_add_(
            0, labels, torch.ones_like(labels, dtype=self.class_counts.dtype)
        )
        sums = torch.zeros_like(self.class_means).index_add_(0, labels, frozen)
        self.class_counts += counts
        share = self.class_counts.clamp(min=1)[:, None]
        self.class_means += (sums - counts[:, None] * self.class_means) / share

    def state_dict(self) -> dict[str, Any]:
        """State of the base, and the running means."""
        means = {"counts": self.class_counts.clone(), "means": self.class_means.clone()}
        return {**super().state_dict(), "class_means": means}

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`."""
        super().load_state_dict(state, experiences)
        self.class_counts.copy_(state["class_means"]["counts"])
        self.class_means.copy_(state["class_means"]["means"])

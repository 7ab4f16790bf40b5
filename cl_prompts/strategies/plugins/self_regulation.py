"""Self-regulation: keep prompted features and logits near those of the frozen ViT."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.checks import NotNegative, Positive
from cl_prompts.losses.self_regulation import cosine_consistency, logit_divergence, row_difference
from cl_prompts.prompts.selectors import ClassTokenQuery
from cl_prompts.strategies.base.head import raw_features
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.plugin import StrategyPlugin

#: Width of CLIP's features, for which the published weights are.
CLIP_DIM = 512


class SelfRegulation(StrategyPlugin):
    """Loss terms that keep prompted features near frozen ones. One class per image.

    PromptSRC (ICCV 2023, arXiv 2307.06948) and CoPrompt (ICLR 2024), published for CLIP.
    ``kind="promptsrc"`` adds ``l_f mean |f - q|`` on features f and frozen features q of unit
    length, ``l_w mean |W - W0|`` on class rows of unit length, and ``l_z`` times the divergence a
    class of the head's softmax from that of the frozen classifier, ``s cos(q, W0)``. ``"coprompt"``
    adds ``l_f (1 - cos(f, q)) + l_w (1 - cos(W, W0))`` instead, without the published adapters and
    with q of the same view. Without a text tower, W0 are the running class means of q; classes
    without a mean are left out. The frozen features cost one more forward pass per update, unless
    they are the method's query (not in MVP). ``f`` is the feature before whitening.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import OnePrompt
        >>> regulation = SelfRegulation(kind="promptsrc")
        >>> given = {"backbone": create_backbone(), "n_classes": 10, "evaluator": None}
        >>> one = OnePrompt(**given, plugins=[regulation], device="cpu")
        >>> regulation.feature_weight  # 10 * 128 / 512
        2.5
    """

    needs = "prompt_form"
    class_axes: ClassVar = {"counts": 0, "means": 0}
    one_label = "compares softmaxes and class means, which need one class per image"

    kind: Literal["promptsrc", "coprompt"] = "promptsrc"
    """Whose terms: ``"promptsrc"`` or ``"coprompt"``."""
    feature_weight: NotNegative | None = None
    """Weight l_f of the term on features; None: the published 10 (times the width / 512, since it
    is a mean over the width) or 8."""
    class_weight: NotNegative = 0.0
    """Weight l_w of the term on class rows, off by default and meant for a cosine head on raw
    features; published: 25, to be given times the width / 512 here, or 8."""
    logit_weight: NotNegative = 1.0
    """Weight l_z of PromptSRC's term on logits."""
    scale: Positive = 10.0
    """Scale s of the frozen classifier's cosines; CLIP's is 100."""

    def attach(self, strategy: OnlineStrategy) -> None:
        """Check the method, set the default weight, and allocate the class means."""
        self.check_head(strategy)
        self.check_stream_samples(strategy)
        model = strategy.model
        if model.backbone.trainable or not len(model.pools):
            raise self.lacking(strategy, "prompts on a frozen ViT")
        dim = model.backbone.feature_dim
        if self.feature_weight is None:
            # The loss is a mean over features; published weights are for the width of CLIP.
            self.feature_weight = 10.0 * dim / CLIP_DIM if self.kind == "promptsrc" else 8.0
        self.counts = torch.zeros(model.n_classes, device=strategy.device)
        """Number of stream samples (classes,) in the running means, each view counted."""
        self.means = torch.zeros(model.n_classes, dim, device=strategy.device)
        """Running means W0 (classes, dim) of frozen features."""
        self.state.add("counts", "means")

    def before_backward(self, strategy: OnlineStrategy, **kwargs: object) -> None:
        """Add the terms on features, class rows and logits to the loss."""
        batch, output = strategy.batch, strategy.output
        frozen = frozen_features(strategy)
        # Before the terms, so that the first samples of a class have a mean.
        self._update_means(frozen[: batch.n_stream], batch.labels[: batch.n_stream])
        known = self.counts > 0
        rows = strategy.model.head.weight
        distance = cosine_consistency if self.kind == "coprompt" else row_difference
        # l_f d(f, q)
        assert self.feature_weight is not None
        loss = self.feature_weight * distance(raw_features(output), frozen)
        if self.class_weight:
            # l_w d(W, W0)
            loss = loss + self.class_weight * distance(rows, self.means, known)
        if self.logit_weight and self.kind == "promptsrc":
            # l_z / K mean_i KL(softmax of s cos(q_i, W0) || softmax of the head), over the K
            # classes with a mean
            teacher = self.scale * F.normalize(frozen, dim=-1) @ F.normalize(self.means, dim=-1).T
            loss = loss + self.logit_weight * logit_divergence(output.logits, teacher, known)
        strategy.loss = strategy.loss + loss

    @torch.no_grad()
    def _update_means(self, frozen: Tensor, labels: Tensor) -> None:
        """Add features of stream samples to the class means."""
        counts = torch.zeros_like(self.counts).index_add_(
            0, labels, torch.ones_like(labels, dtype=self.counts.dtype)
        )
        sums = torch.zeros_like(self.means).index_add_(0, labels, frozen)
        self.counts += counts
        # m += (sum of the new - n_new m) / n_all
        self.means += (sums - counts[:, None] * self.means) / self.counts.clamp(min=1)[:, None]


def frozen_features(strategy: OnlineStrategy) -> Tensor:
    """Return the features (batch, dim) of the unprompted ViT, from the query pass if possible."""
    model = strategy.model
    # L2P's query, what the ViT itself reads of its last block, is the feature.
    of_query = model.backbone.features == model.backbone.own
    is_query = of_query and model.query == ClassTokenQuery()
    if getattr(model, "selector", None) is not None and is_query:
        cached: Tensor | None = strategy.output.cacheable.get("frozen")
        if cached is not None:
            return cached
    with torch.no_grad():
        vit = model.backbone
        return vit.class_features(vit.embed(strategy.batch.images)).float()

"""A classifier without gradients on the features of a frozen ViT."""

from collections.abc import Collection, Hashable, Mapping

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_frozen


class PrototypeViT(ContinualModel):
    """Frozen features with a classifier without gradients as the head.

    Features never change, so they are cached (cache key ``"frozen"``); a test image costs one
    forward pass in all.

    Args:
        head: a :class:`~cl_prompts.closed_form.prototype_classifiers.PrototypeClassifier` of the
            features' dim, with the data set's classes as columns.
        multi_label: an image may show several classes; the head is then a
            :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`.

    Raises:
        InputError: a trainable backbone, or a single-label classifier with ``multi_label``.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.closed_form import NearestClassMean
        >>> vit = create_backbone()
        >>> model = PrototypeViT(vit, NearestClassMean(vit.dim, n_classes=3))
        >>> model.n_learned  # statistics are buffers, not parameters
        0
    """

    head: PrototypeClassifier

    def __init__(
        self, backbone: FrozenViT, head: PrototypeClassifier, *, multi_label: bool = False
    ) -> None:
        need_frozen(backbone, "prototypes")
        if multi_label and not isinstance(head, MultiLabelRidge):
            raise InputError(
                f"{type(head).__name__} supports one class per image: use MultiLabelRidge for"
                " several"
            )
        super().__init__(backbone, head.n_classes, multi_label=multi_label)
        self.head = head
        if isinstance(head, MultiLabelRidge):
            self.score_threshold = head.score_threshold

    def learn(self, features: Tensor, labels: Tensor, annotated: Tensor) -> None:
        """Add a batch to the classifier's statistics.

        Args:
            features: (batch, dim).
            labels: (batch,) classes, or (batch, classes) 0/1 in a multi-label model.
            annotated: (classes,) or (batch, classes) boolean mask of known entries, for
                multi-label.
        """
        self.head.update(features, labels, annotated if self.multi_label else None)

    def solve(self) -> None:
        """Compute all that scores need besides features."""
        if bool(self.head.seen.any()):
            self.head.logits(torch.zeros(1, self.backbone.feature_dim, device=self.seen.device))

    def cache_keys(self) -> dict[str, Hashable]:
        """``"frozen"``, valid while the backbone is the same object."""
        return {"frozen": self.backbone}

    def needs_images(self, cached: Collection[str]) -> bool:
        """False if the features are cached."""
        return "frozen" not in cached

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """Images (batch, 3, size, size) in [0, 1] -> features (batch, dim) fp32."""
        return self.backbone(images)

    @torch.no_grad()
    def encode(self, images: Tensor | None, cached: Mapping[str, Tensor]) -> Encoding:
        """Compute the features, unless they are cached."""
        if "frozen" in cached:
            return Encoding({"frozen": cached["frozen"]})
        assert images is not None
        return Encoding({"frozen": self.features(images)})

    @torch.no_grad()
    def decode(self, encoding: Encoding) -> Output:
        """Score the features."""
        features = encoding.parts["frozen"]
        return Output(self.hide_unseen(self.head.logits(features)), features)

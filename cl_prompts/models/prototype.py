"""A classifier without gradients on the features of a frozen ViT."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Encoding, Output, need_frozen
from cl_prompts.models.multi_label_ridge import MultiLabelRidge
from cl_prompts.models.prototype_classifiers import PrototypeClassifier


class PrototypeViT(ContinualModel):
    """Frozen features, with a
    :class:`~cl_prompts.models.prototype_classifiers.PrototypeClassifier` as the head.

    It has no gradients. The features of an image never change, so they can be cached (cache key
    ``"frozen"``), and a test image costs one forward pass, the first time only.

    Args:
        head: the classifier; its dim is that of the features, its columns are the data set's
            classes.
        multi_label: an image may show several classes; the head is then a
            :class:`~cl_prompts.models.multi_label_ridge.MultiLabelRidge`.

    Raises:
        InputError: a thawed backbone, or a classifier that is not defined for several classes an
            image.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models.prototype_classifiers import NearestClassMean
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
                f"{type(head).__name__} is defined for one class per image: several need a"
                " MultiLabelRidge"
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
            annotated: (classes,) or (batch, classes) boolean, the entries of multi-label rows that
                are known; one class per image says all.
        """
        if self.multi_label and isinstance(self.head, MultiLabelRidge):
            self.head.update(features, labels, annotated)
        else:
            self.head.update(features, labels)

    def settle(self) -> None:
        """End a task: a ridge with pseudo-labels takes them from its solution of this moment."""
        if isinstance(self.head, MultiLabelRidge):
            self.head.settle()

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
        """Score the features; classes without a sample score -inf, or 0 in a multi-label model."""
        features = encoding.parts["frozen"]
        # A GPU does not wait in training, where the loss shows whether a solution failed.
        scores = self.head.logits(features, wait=not self.training)
        return Output(self.hide_unseen(scores), features)

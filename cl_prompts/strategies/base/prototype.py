"""Base of the strategies without gradients."""

import inspect
from collections.abc import Callable
from typing import ClassVar

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.losses.classification import masked_mean
from cl_prompts.models.base import Output
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import Batch

#: settings of gradient descent, which these methods do not have
OF_GRADIENTS = ("lr", "schedule", "new_optimizer", "clip_norm", "class_mask", "loss_norm")


class PrototypeStrategy(OnlineStrategy):
    """Base of the prototype strategies: an update adds features to a classifier's statistics.

    There is no gradient and no optimizer step, but Avalanche's triggers fire as usual. Training
    costs one frozen forward pass per batch, a test image one in total. The result depends neither
    on the order of the stream nor on its batches, except for a ridge chosen on held-out samples, a
    kernel width taken from the first batch, and pseudo-labels.

    Training batches are not scored: the reported loss is 0.

    Settings of gradient descent (``OF_GRADIENTS``) and of a trained head do not exist here. There
    is no replay: sums over the stream forget nothing. Replayed samples of a plugin would count
    twice. Several labels per image need a
    :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`, which reads the annotated
    classes and is settled at the end of a task or period.

    Raises:
        InputError: ``buffer_size`` is not 0.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.closed_form import NearestClassMean
        >>> class Means(PrototypeStrategy):
        ...     classifier = NearestClassMean
        >>> Means(backbone=create_backbone(), n_classes=10, evaluator=None).model.n_learned
        0
    """

    excluded: ClassVar[tuple[str, ...]] = ("multi_label", "head", *OF_GRADIENTS)
    keeps = "sums over the whole stream"
    plain_images = True
    classifier: ClassVar[Callable[..., PrototypeClassifier]]
    """Class of the classifier."""

    augmented_views: bool = False
    """Count all ``train_epochs`` x ``online_iter`` views of a sample. Otherwise each sample counts
    once, and these two settings, which recipes set for all strategies, are ignored."""
    train_epochs: Count = 1
    """Ignored unless ``augmented_views``."""
    online_iter: Count = 1
    """Ignored unless ``augmented_views``."""

    def check_settings(self) -> None:
        """Count each sample once unless ``augmented_views`` is set."""
        super().check_settings()
        if not self.augmented_views:
            self.train_epochs = 1
            self.online_iter = 1

    def build_model(self, backbone: FrozenViT, n_classes: int) -> PrototypeViT:
        """Build the classifier on the frozen features."""
        head = self.make_classifier(backbone.feature_dim, n_classes)
        return PrototypeViT(backbone, head, multi_label=self.multi_label)

    def make_classifier(self, dim: int, n_classes: int) -> PrototypeClassifier:
        """Make the classifier, with the settings that it shares with the method."""
        arguments = inspect.signature(self.classifier).parameters.keys() - {"n_classes"}
        given = {name: value for name, value in self.values_of().items() if name in arguments}
        return self.classifier(dim, n_classes, **given)

    def training_output(self, batch: Batch) -> Output:
        """Compute features alone: a batch is not scored, and its logits are 0."""
        features = self.model.features(batch.images)
        logits = features.new_zeros(len(features), self.model.n_classes)
        return Output(self.model.hide_unseen(logits), features)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return 0, or NaN if any feature is not finite."""
        return 0.0 * output.features.float().mean()

    def backward(self) -> None:
        """Do nothing, since there are no gradients."""

    def optimizer_step(self) -> None:
        """Do nothing, since there are no gradients."""

    def after_step(self, output: Output, batch: Batch) -> None:
        """Add the batch to the statistics."""
        self.model.learn(output.features, self.labels_of(batch), batch.annotated)

    def labels_of(self, batch: Batch) -> Tensor:
        """Return the labels, on the CPU if the classifier sorts by them."""
        on_host = batch.host_labels if self.model.head.sorts else None
        return batch.labels if on_host is None else on_host

    def finish_task(self) -> None:
        """Let the classifier finish the task."""
        self.model.head.settle()

    def criterion(self) -> Tensor:
        """Return the evaluation loss: cross-entropy, or with several labels squared error."""
        if not self.model.multi_label:
            return super().criterion()
        squares = (self.mb_output - self.mb_y).square()
        classes = self.tested.annotated & self.model.seen
        return masked_mean(squares, classes.expand_as(squares))

"""Base of the strategies without gradients."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count
from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.closed_form.sums import not_sums, order_matters, zero
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import masked_mean
from cl_prompts.models.base import Output
from cl_prompts.models.prototype import PrototypeViT
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import Batch, own_sampler

#: settings of gradient descent, which these methods do not have
OF_GRADIENTS = ("lr", "schedule", "new_optimizer", "clip_norm", "class_mask", "loss_norm")


@dataclass
class GivenSums:
    """Sums of the samples between two evaluations, computed elsewhere.

    Attributes:
        end: samples of the experience up to the end of this part.
        size: samples of this part.
        labels: their labels, or the distinct ones.
        states: returns states of classifiers whose sums add up to those of this part.

    Example:
        >>> GivenSums(end=64, size=64, labels=torch.arange(3), states=list).end
        64
    """

    end: int
    size: int
    labels: Tensor
    states: Callable[[], Iterable[dict[str, Tensor]]]


class PrototypeStrategy(OnlineStrategy):
    """Base of the prototype strategies: an update adds features to a classifier's statistics.

    There is no gradient and no optimizer step, but Avalanche's triggers fire as usual. Training
    costs one frozen forward pass per batch, a test image one in total. The result depends neither
    on the order of the stream nor on its batches, except for a ridge chosen on held-out samples, a
    kernel width taken from the first batch, and pseudo-labels.

    The reported loss is prequential: cross-entropy of the batch *before* the update, over its
    samples of known classes; with several labels the mean squared error of scores, over the
    annotated known classes.

    Settings of gradient descent (``OF_GRADIENTS``) and of a trained head do not exist here.
    ``optimizer``, an argument of all strategies of Avalanche, has no effect. There is no replay:
    sums over the stream forget nothing. Replayed samples of a plugin would count twice. Several
    labels per image need a :class:`~cl_prompts.closed_form.multi_label_ridge.MultiLabelRidge`,
    which reads the annotated classes and is settled at the end of a task or period.

    Raises:
        InputError: ``buffer_size`` is not 0.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.closed_form.prototype_classifiers import NearestClassMean
        >>> class Means(PrototypeStrategy):
        ...     classifier = NearestClassMean
        >>> Means(backbone=create_backbone(), n_classes=10, evaluator=None).model.n_learned
        0
    """

    excluded: ClassVar[tuple[str, ...]] = ("multi_label", "compile", "head", *OF_GRADIENTS)
    keeps = "sums over the whole stream"
    classifier: ClassVar[Callable[..., PrototypeClassifier]]
    """Class of the classifier."""

    given_sums: ClassVar[Any] = None
    """Maps the number of an experience to its :class:`GivenSums`, if they are known."""

    training_scores: bool = True
    """Score training batches for the loss and Avalanche's training metrics; otherwise the loss and
    all training logits are 0."""
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
        # Apple's devices have no float64.
        dtype = torch.float32 if torch.device(self.device).type == "mps" else torch.float64
        head = self.make_classifier(backbone.feature_dim, n_classes, dtype)
        return PrototypeViT(backbone, head, multi_label=self.multi_label)

    def make_classifier(self, dim: int, n_classes: int, dtype: torch.dtype) -> PrototypeClassifier:
        """Make the classifier, with the settings that it shares with the method."""
        arguments = inspect.signature(self.classifier).parameters.keys() - {"n_classes"}
        given = {name: value for name, value in self.values_of().items() if name in arguments}
        return self.classifier(dim, n_classes, dtype=dtype, **given)

    def training_output(self, batch: Batch) -> Output:
        """Run the model, or compute features alone without ``training_scores``."""
        if self.training_scores:
            return super().training_output(batch)
        features = self.model.features(batch.images)
        logits = features.new_zeros(len(features), self.model.n_classes)
        return Output(self.model.hide_unseen(logits), features)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the prequential loss (see the class)."""
        # NaN if any feature is not finite, even if its class is not scored.
        nothing = 0.0 * output.features.float().mean()
        if not self.training_scores:
            return nothing
        if self.model.multi_label:
            annotated = batch.annotated & self.model.head.seen
            return nothing + _squared_error(output.logits, batch.labels, annotated)
        # mb_output is finite where logits of unseen classes are -inf.
        losses = F.cross_entropy(self.mb_output, batch.labels, reduction="none")
        return nothing + masked_mean(losses, self.model.head.seen[batch.labels])

    def backward(self) -> None:
        """Do nothing, since there are no gradients."""

    def optimizer_step(self) -> None:
        """Do nothing, since there are no gradients."""

    def after_step(self, output: Output, batch: Batch) -> None:
        """Add the batch to the statistics."""
        self.model.learn(output.features, self.labels_of(batch), batch.annotated)

    @torch.no_grad()
    def unlearn(self, images: Iterable[Tensor], labels: Tensor) -> float:
        """Take samples out of the sums, as if they had never been learned.

        Args:
            images: n images (3, size, size) in [0, 1], as they were learned; read batch by batch.
            labels: (n,) classes, or (n, classes) 0/1 with several labels, all annotated.

        Returns:
            The largest factor by which a sum became smaller.

        Raises:
            InputError: the sums contain augmented views or cannot be subtracted, fewer than six
                digits would remain, or a class has fewer samples than given.
        """
        if self.augmented_views:
            raise InputError("augmented_views is set: augmented views cannot be forgotten")
        head = self.model.head
        reason = not_sums(head, -1) or order_matters(head)
        if reason:
            raise InputError(f"{type(self).__name__} cannot forget: {reason}")
        part = deepcopy(head)
        zero(part)
        labels = labels.to(self.device)
        self.model.eval()
        left = iter(images)
        for some in labels.split(self.train_mb_size):
            batch = torch.stack([*islice(left, len(some))])
            # Of full size, as in training: the last bits of features depend on the size of a batch.
            full = batch[torch.arange(self.train_mb_size) % len(batch)].to(self.device)
            part.update(self.model.features(full)[: len(batch)], some)
        if bool((part.count > head.count).any()):
            raise InputError("a class has more images to forget than it has learned")
        found = head.subtract(part)
        if not self.model.multi_label:
            self.model.seen.copy_(head.seen)
        return found

    def training_epoch(self, **kwargs: object) -> None:
        """Train on the stream of an experience, or add its sums from :attr:`given_sums`."""
        if self.given_sums is None:
            super().training_epoch(**kwargs)
            return
        done = self.loop.start_epoch()
        sampler = own_sampler(self.dataloader)
        if sampler is not None and sampler.generator is not None:  # the epoch draws its order
            torch.randperm(sampler.n, generator=sampler.generator)
        other = deepcopy(self.model.head)
        self.loss = self._make_empty_loss()
        for part in self.given_sums(self.experience.current_experience):
            if part.end <= done:
                continue
            self.observe_classes(part.labels.to(self.device))
            for state in part.states():
                # The first part may bring a kernel width.
                mine = other if bool(self.model.head.seen.any()) else self.model.head
                mine.load_state_dict(state)
                if mine is other:
                    self.model.head.add(other)
            self.samples_seen += part.size
            self._after_training_iteration(**kwargs)
            self.loop.checkpoint(part.end)

    def labels_of(self, batch: Batch) -> Tensor:
        """Return the labels, on the CPU if the classifier sorts by them."""
        on_host = batch.host_labels if self.model.head.sorts else None
        return batch.labels if on_host is None else on_host

    def finish_task(self) -> None:
        """Let the classifier finish the task."""
        self.model.settle()

    def criterion(self) -> Tensor:
        """Return the evaluation loss: cross-entropy, or with several labels squared error."""
        if not self.model.multi_label:
            return super().criterion()
        return _squared_error(self.mb_output, self.mb_y, self.tested.annotated & self.model.seen)


def _squared_error(scores: Tensor, labels: Tensor, classes: Tensor) -> Tensor:
    """Return the mean squared error of scores (batch, classes) over some columns."""
    return masked_mean((scores - labels).square(), classes.expand_as(scores))

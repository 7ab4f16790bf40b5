"""The hooks that a method overrides, with the defaults of experience replay."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.losses.classification import ClassMask, batch_classes, masked_cross_entropy
from cl_prompts.losses.multi_label import LossNorm, multi_label_loss
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.whitening import FeatureWhitening
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.experience import mark_of
from cl_prompts.strategies.base.frozen_work import FrozenWork
from cl_prompts.strategies.base.labels import check_labels
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer


class MethodHooks:
    """Hooks of the training loop, with their defaults: what a method may override.

    The default is experience replay, or without a buffer plain training, with the loss on labels.

    Example:
        >>> from cl_prompts.strategies import MultiLane
        >>> names = set(vars(MethodHooks)) & set(vars(MultiLane))
        >>> sorted(name for name in names if name[0] != "_")
        ['build_model', 'observe_classes', 'start_task', 'training_loss']
    """

    model: Any
    replay: Replay
    frozen_work: FrozenWork
    device: Any
    experience: Any
    host_labels: Tensor | None = None
    """Labels of the current stream batch, on the CPU; None where the loader gave none there."""
    annotated: Tensor
    """Classes that the current experience labels, (classes,)."""
    boundaries: bool | None
    class_mask: ClassMask
    loss_norm: LossNorm
    whitening_replayed: bool
    updates: int

    @property
    def announced(self) -> bool:
        """Whether the boundaries of the current experience are announced (task-aware learning).

        Experiences declare it by ``boundaries``, Avalanche's mini-experiences by
        ``access_task_boundaries``; those of other benchmarks, without either, announce theirs.
        """
        if self.boundaries is not None:
            return self.boundaries
        if not getattr(self.experience, "access_task_boundaries", True):
            return False
        return mark_of(self.experience, "boundaries", True)

    @property
    def buffer(self) -> Any:
        """The replay buffer; empty with ``buffer_size=0``."""
        return self.replay.buffer

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's network from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model: give model=")

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Adam without weight decay on everything trainable, as published for MVP and its
        baselines."""
        # As a group: it may be empty, where parameters come with the first task or there are none.
        return torch.optim.Adam(
            [{"params": [p for p in model.parameters() if p.requires_grad]}], lr
        )

    def make_buffer(self, size: int, seed: int) -> ReplayBuffer:
        """Make the replay buffer, of references of width 2."""
        return ReservoirBuffer(size, width=2, seed=seed)

    def check_experience(self, experience: Any) -> None:
        """Refuse an experience that the method cannot learn from, before its first batch."""
        check_labels(experience, self.model, type(self).__name__)

    def start_task(self, classes: Tensor) -> None:
        """Prepare for an announced task, before its first batch.

        Args:
            classes: (classes,) boolean, the classes of the task.
        """

    def finish_task(self) -> None:
        """Finish a task: called after the last sample of an announced task, or every ``period``
        samples where none is announced."""

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch before it is trained on."""
        self.model.observe_classes(labels)

    def make_batch(self, stream: list[Tensor]) -> Batch:
        """Join the columns of a stream batch with newly drawn replayed samples."""
        none = torch.zeros(0, dtype=torch.int64)
        if len(self.replay) == 0:
            return Batch(stream, self.annotated, none)
        extra, annotated, slots = self.replay.draw(self.updates)
        of_stream = self.annotated.expand(len(stream[0]), -1)
        return Batch(
            [torch.cat([a, b.to(self.device)]) for a, b in zip(stream, extra, strict=True)],
            torch.cat([of_stream, annotated.to(self.device)]),
            slots,
        )

    def statistics_of(self, batch: Batch, *, repeated: bool) -> AbstractContextManager[None]:
        """Let the next forward pass take a batch into the statistics of the head's input, if the
        model has any.

        Args:
            batch: what is trained on.
            repeated: another update on the stream batch that came last.
        """
        whitening: FeatureWhitening | None = self.model.whitening
        if whitening is None:
            return nullcontext()
        rows = None if self.whitening_replayed else batch.n_stream
        return whitening.update_statistics(rows, repeated=repeated)

    def training_output(self, batch: Batch) -> Output:
        """Run the model on a batch."""
        return self.frozen_work.run(self.model, batch)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Loss of the method on a batch: by default :meth:`label_loss`."""
        return self.label_loss(output.logits, batch)

    def regularisation(self, output: Output, batch: Batch) -> Tensor | None:
        """Further terms of loss, which are no part of the method, from settings; None without
        any."""
        return None

    def label_loss(self, logits: Tensor, batch: Batch, *, whole: Batch | None = None) -> Tensor:
        """Cross-entropy over the classes that compete (``class_mask``); multi-label: binary, over
        the annotated classes.

        Args:
            logits: (batch, classes) of the batch's samples.
            batch: a batch, or a part of one.
            whole: the batch that ``batch`` is a part of, if it is one.
        """
        if self.model.multi_label:
            return multi_label_loss(logits, batch.labels, batch.annotated, norm=self.loss_norm)
        if self.class_mask == "batch":
            competing = self.competing_classes((whole or batch).labels)
            return masked_cross_entropy(logits, batch.labels, competing)
        if self.class_mask == "current" and self.announced:
            competing = batch.annotated.expand_as(logits)
            foreign = ~competing.gather(1, batch.labels[:, None])
            logits = logits.masked_fill(~(competing | foreign), float("-inf"))
        return F.cross_entropy(logits, batch.labels)

    def competing_classes(self, labels: Tensor) -> Tensor:
        """Classes that compete in a loss over a whole batch, (classes,) boolean.

        Args:
            labels: (batch,) of the batch, replayed samples included.
        """
        if self.class_mask == "batch":
            return batch_classes(labels, self.model.n_classes)
        seen: Tensor = self.model.seen
        return seen

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update a method's statistics, after each optimizer step."""

    def after_batch(self, samples: int) -> None:
        """Act once on each stream batch, after its last update and before a period ends.

        Args:
            samples: of the stream that are done now, in this epoch.
        """

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer a batch's stream samples to the buffer; called once for each sample.

        Args:
            rows: (n,) rows of the current experience: the first n samples of the batch.
            batch: that was just trained on or, with ``remember_first``, is about to be.
            output: of the update just made; None with ``remember_first``.
        """
        self.replay.add(rows, batch.labels_on_host(len(rows)))

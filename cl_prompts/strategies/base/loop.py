"""The training loop of all strategies, on Avalanche's template."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import has_one_class
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import Output
from cl_prompts.models.heads import finite
from cl_prompts.strategies.base.batch import Batch, Place, StreamShare
from cl_prompts.strategies.base.experience import TaskPosition
from cl_prompts.strategies.base.faults import blame, check_first_batch, check_weights
from cl_prompts.strategies.base.hooks import MethodHooks
from cl_prompts.strategies.base.labels import check_class_ids, classes_of
from cl_prompts.strategies.base.loaders import RecurringViews, joined_batch
from cl_prompts.strategies.base.template import StreamTemplate
from cl_prompts.training.schedules import Schedule, learning_rate_factor, scale_learning_rates


class StreamLoop(MethodHooks, StreamTemplate):
    """Training loop over a stream: several updates per batch, replay, announced or periodic task
    ends.

    Example:
        >>> from cl_prompts.strategies import L2P
        >>> [base.__name__ for base in L2P.__mro__ if base.__module__.endswith("loop")]
        ['StreamLoop']
    """

    views: int | None
    schedule: Schedule
    period: int | None
    clip_norm: float | None
    new_optimizer: bool
    tasks_started: int
    samples_seen: int
    updates: int
    single_class_batches: Tensor

    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before they are trained on, instead of after."""

    between_batches: Callable[[], None] | None = None
    """Called after each stream batch of our own loader, where ``state_dict`` may be taken."""
    place: Place | None = None
    """Where training resumes inside the next experience; None for its start."""

    _position: TaskPosition
    _task_labels: set[int]
    _next_period: int
    _epoch_order: Tensor
    _inside: Place | None = None
    _stop_training: bool

    # ------------------------------------------------------------------ Avalanche's hooks

    def forward(self) -> Tensor:
        """Logits for Avalanche, with a large finite negative for masked classes, so that any loss
        or metric stays finite."""
        return self._finite(self.model.run(self.mb_x).logits)

    def criterion(self) -> Tensor:
        """Loss in evaluation: plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)

    def _finite(self, logits: Tensor) -> Tensor:
        return logits if self.model.multi_label else finite(logits)

    def _before_training_exp(self, **kwargs: Any) -> None:
        self.check_experience(self.experience)
        check_class_ids(self.experience, self.model, self._task_labels)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        resumed = self.place is not None
        self._position.enter(self.experience, again=resumed)
        if self.announced and self._position.first and not resumed:
            if self.new_optimizer:
                self.optimizer.state = defaultdict(dict)
            self.tasks_started += 1
            self.start_task(self.annotated)
        super()._before_training_exp(**kwargs)
        if not resumed:
            self.replay.enter(self.experience, self.annotated.cpu())
            self.frozen_work.enter(
                self.clock.train_exp_counter,
                len(self.experience.dataset),
                replayed=self.buffer.size > 0,
            )
        if self.buffer.size and self.batches is None:
            raise InputError(
                "buffer_size and a plugin that replaces the data loader cannot be combined: use one"
                " of the two"
            )

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """Train the epochs of an experience; those before ``place`` were trained before."""
        if self.place is not None:
            for name, count in self.place.clock.items():
                setattr(self.clock, name, count)
        for _ in range(self.clock.train_exp_epochs, self.train_epochs):
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                self._stop_training = False
                break
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)

    def _after_training_exp(self, **kwargs: Any) -> None:
        if self.announced and self._position.last:
            self.finish_task()
        self.frozen_work.leave(replayed=self.buffer.size > 0)
        # Plugins measure the importance of parameters by what the model gives (MAS squares it).
        self.model.finite_forward = True
        super()._after_training_exp(**kwargs)
        self.model.finite_forward = False

    # ------------------------------------------------------------------ the loop

    def training_epoch(self, **kwargs: Any) -> None:
        """Train on each stream batch: observe its classes, make ``online_iter`` updates, then count
        it and offer it to the buffer."""
        self.set_learning_rate()
        loaded = self.batches.repeats if self.batches is not None else 1
        n = len(self.experience.dataset)
        position = self._begin_epoch()
        begun_at = position
        for i, minibatch in enumerate(self.dataloader):
            if self._stop_training:
                break
            share = StreamShare(position, min(self.train_mb_size, n - position))
            if self.batches is not None and self.batches.shared:
                minibatch = joined_batch(minibatch, share.size, self.device)
            self._note_labels(minibatch)
            self.mbatch = minibatch
            self._unpack_minibatch()
            stream = self.mbatch
            repetition = i % loaded
            if i == 0:
                check_first_batch(self.model, self.mb_x, self.mb_y)
            if repetition == 0:
                self.observe_classes(self.mb_y)
                if self.remember_first:
                    fresh = Batch(stream, self.annotated, torch.zeros(0))
                    self._offer(share, replace(fresh, host_labels=self.host_labels), None)
            for inner in range(self.online_iter // loaded):
                number = repetition + inner + 1
                finished = share if number == self.online_iter else None
                batch = self._with_samples(self.make_batch(stream), share, repetition)
                if self.host_labels is not None and batch.n_stream == len(self.host_labels):
                    batch.host_labels = self.host_labels
                self.update(batch, finished, repeated=number > 1, **kwargs)
            if repetition == loaded - 1:
                position += share.size
                self._between_batches(position)
        self.host_labels = None
        if position > begun_at:
            self.check_loss(now=True)
            check_weights(self.model, self.samples_seen)

    def _note_labels(self, minibatch: Any) -> None:
        """Keep the labels of a stream batch on the CPU, before they are sent to the device."""
        labels = minibatch[1]
        known = isinstance(labels, Tensor) and labels.device.type == "cpu"
        self.host_labels = labels if known else None

    def _begin_epoch(self) -> int:
        """Samples of this epoch that were trained on before; the loader leaves them out."""
        position = 0
        if self.place is not None:
            position = self.place.samples
            self.clock.train_epoch_iterations = self.place.clock["train_epoch_iterations"]
            self.place = None
        if self.batches is not None:
            self.batches.start = position
            self.batches.origin = self.samples_seen - position
            self.batches.recurring = self._recurring()
        # Of what follows, the order of the epoch is drawn first.
        self._epoch_order = self.shuffler.get_state()
        return position

    def _recurring(self) -> RecurringViews | None:
        """The views of this epoch, where they come again."""
        if self.views is None:
            return None
        source = self.clock.train_exp_counter
        return RecurringViews(self.views, source, self.clock.train_exp_epochs * self.online_iter)

    def _with_samples(self, batch: Batch, share: StreamShare, repetition: int) -> Batch:
        """The batch with the numbers of its samples, where views come again."""
        recurring = None if self.batches is None else self.batches.recurring
        if self.batches is None or recurring is None:
            return batch
        rows = self.batches.order[share.start : share.start + min(share.size, batch.n_stream)]
        parts = [recurring.samples(rows, repetition)]
        if len(batch.slots):
            parts.append(self.replay.samples(batch.slots, self.updates))
        return replace(batch, samples=torch.cat(parts))

    def _between_batches(self, samples: int) -> None:
        """Let others look at the state between two stream batches, where it is whole."""
        self.frozen_work.next_batch()
        if self.between_batches is None:
            return
        clock = {name: n for name, n in vars(self.clock).items() if isinstance(n, int)}
        self._inside = Place(samples, clock)
        self.between_batches()
        self._inside = None

    def update(
        self,
        batch: Batch,
        finished: StreamShare | None = None,
        *,
        repeated: bool = False,
        **kwargs: Any,
    ) -> None:
        """Make one optimizer step with all of Avalanche's triggers.

        Args:
            batch: what to train on.
            finished: the samples of the stream that are done after it.
            repeated: another update on the stream batch that came last.
            **kwargs: handed to plugins.
        """
        self.mbatch = batch.columns
        images, labels = batch.images, batch.labels
        self._before_training_iteration(**kwargs)
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
        if self.mbatch is not batch.columns or self.mb_x is not images or self.mb_y is not labels:
            # A plugin has changed the batch.
            batch.samples = None
            batch.host_labels = None
        batch.columns = self.mbatch
        with self.statistics_of(batch, repeated=repeated):
            output = self.training_output(batch)
        self.mb_output = self._finite(output.logits)
        self._after_forward(**kwargs)
        self.loss += self.training_loss(output, batch)
        further = self.regularisation(output, batch)
        self.loss = self.loss if further is None else self.loss + further
        self._before_backward(**kwargs)
        self.backward()
        self._after_backward(**kwargs)
        self.clip_gradients()
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        self.after_step(output, batch)
        self.updates += 1
        if self.class_mask == "batch":
            self.single_class_batches += has_one_class(batch.labels)
        self.check_loss()
        if finished is not None:
            self._finish(finished, batch, output)
        self._after_training_iteration(**kwargs)

    def _finish(self, share: StreamShare, batch: Batch, output: Output) -> None:
        """Count samples of the stream that are done in this epoch, and finish a period."""
        if not self.remember_first:
            self._offer(share, batch, output)
        self.samples_seen += share.size
        self.after_batch(share.size)
        if self.period is None or self.announced or self.samples_seen < self._next_period:
            return
        self._next_period = (self.samples_seen // self.period + 1) * self.period
        self.finish_task()

    def backward(self) -> None:
        """Compute gradients, the same on all ranks."""
        super().backward()
        ranks.share_gradients(self.model)

    def optimizer_step(self) -> None:
        """Make the step; the slow heads follow the head."""
        super().optimizer_step()
        if self.model.slow is not None:
            self.model.slow.update(self.model.head)

    def clip_gradients(self) -> None:
        """Bound the gradient's global norm by ``clip_norm``, if given."""
        if self.clip_norm is not None:
            trained = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    def _offer(self, share: StreamShare, batch: Batch, output: Output | None) -> None:
        """Offer the batch's stream samples to the buffer, in the first epoch only."""
        if self.buffer.size and self.clock.train_exp_epochs == 0 and self.batches is not None:
            rows = self.batches.order[share.start : share.start + share.size]
            self.remember(rows, batch, output)

    def learning_rate_factor(self) -> float:
        """Factor of the schedule on each group's own learning rate in this epoch."""
        return learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)

    def set_learning_rate(self) -> None:
        """Set each group's learning rate for this epoch of the experience."""
        if self.schedule != "constant":
            scale_learning_rates(self.optimizer, self.learning_rate_factor())

    def check_loss(self, *, now: bool = False) -> None:
        """Stop at a loss that is not finite: checked at every step on the CPU, every 50 on a GPU,
        where a check costs a synchronisation."""
        due = now or self.device.type == "cpu" or self.updates % 50 == 0
        if due and not bool(torch.isfinite(self.loss.detach())):
            raise blame(float(self.loss.detach()), self.mb_x, self.model, self.samples_seen)

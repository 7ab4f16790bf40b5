"""Online protocol: the training loop of all strategies, as an Avalanche strategy.

From top to bottom: a call of ``train``, an experience, an epoch, a stream batch, an update.
Avalanche calls ``_before_training_exp``, ``_train_exp`` and ``_after_training_exp`` in this order.
:class:`~cl_prompts.strategies.base.method.Method` has the hooks that the loop calls.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.training.utils import trigger_plugins

from cl_prompts.backbones.pixels import check_input, check_targets, fault_of
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output, finite
from cl_prompts.strategies.base.experience import (
    announces_boundaries,
    check_labels,
    classes_of,
    highest_class,
    mark_of,
)
from cl_prompts.strategies.base.method import Method
from cl_prompts.strategies.base.stream import (
    Batch,
    RecurringViews,
    RepeatedBatches,
    StreamBatch,
    keyed_loader,
    own_sampler,
    stream_batches,
)


class OnlineStrategy(Method):
    """Base of the strategies: one pass over a stream, with several updates per batch.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as usual. It does not read task labels or experience ids.
    Differences from Avalanche's templates:

    * each batch is trained on ``online_iter`` times; ``samples_seen`` counts stream samples only,
      not those that plugins add;
    * the classes of a batch are observed before it is trained on;
    * task boundaries are used where announced (see ``boundaries``), else every ``period`` samples;
    * experiences with ``ordered=True`` are trained in their order, and no sample is dropped;
    * only trainable parameters enter the optimizer, whose groups are preserved.

    The multi-label loss is binary cross-entropy over the classes annotated in the experience,
    since zeros in other columns have no meaning.

    A method declares its settings, builds its model in :meth:`build_model`, and overrides hooks of
    :class:`~cl_prompts.strategies.base.method.Method`. Options that act during training are
    plugins (:class:`~cl_prompts.strategies.base.plugin.StrategyPlugin`).

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models.prompted import PromptedViT
        >>> class Probe(OnlineStrategy):
        ...     def build_model(self, backbone, n_classes):
        ...         return PromptedViT(backbone, n_classes)
        >>> probe = Probe(backbone=create_backbone(), n_classes=10, lr=1e-3, evaluator=None)
        >>> probe.optimizer.param_groups[0]["lr"]
        0.001
    """

    loss: Any
    """Loss of the current update."""
    _stop_training: bool

    # ------------------------------------------------------------------ training

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on one experience, or on several in turn.

        ``shuffle`` defaults to False for ordered streams. Other arguments are those of the data
        loader, as in Avalanche, but for ``drop_last``: no sample is dropped.
        """
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        if self.growing:
            # Before labels are checked against the rows of the head.
            self.grow(max(0, highest_class(experiences) + 1 - self.model.n_classes))
        kwargs.setdefault("shuffle", not any(mark_of(e, "ordered", False) for e in experiences))
        return super().train(experiences, eval_streams, **kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Enter an experience, and start its task if it is the first of an announced one."""
        # A resumed experience was entered before: its task has started, its samples are known.
        resumed = self.place is not None
        self.announced = announces_boundaries(self.experience, self.boundaries)
        self.check_announced(announced=self.announced)
        check_labels(self.experience, self.model, type(self).__name__)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        self.task_position.enter(self.experience, again=resumed)
        if self.announced and self.task_position.first and not resumed:
            if self.new_optimizer:
                # Momentum of the last task would move parameters that this task does not train.
                self.optimizer.state = defaultdict(dict)
            self.tasks_started += 1
            self.start_task(self.annotated)
            trigger_plugins(self, "start_of_task")
        super()._before_training_exp(**kwargs)
        if not resumed and self.buffer_size:
            self.replay.enter(self.experience, self.annotated.cpu())
        if not resumed and self.views is not None:
            n = len(self.experience.dataset)
            self.feature_cache.reserve(self.source, n * self.views)
        if self.buffer_size and own_sampler(self.dataloader) is None:
            raise InputError("a plugin replaces the data loader: leave it or buffer_size out")

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """Train the epochs of an experience, from ``place`` if training resumes in it."""
        if self.place is not None:
            # Avalanche has set its clock to zero.
            for name, count in self.place["clock"].items():
                setattr(self.clock, name, count)
        for _ in range(self.clock.train_exp_epochs, self.train_epochs):
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                break
            self.training_epoch(**kwargs)
            # On a GPU only every 50th loss was checked.
            self.check_loss(now=True)
            self._after_training_epoch(**kwargs)
        self.place = None
        # A plugin that stops this experience does not stop the next one.
        self._stop_training = False

    def training_epoch(self, **kwargs: Any) -> None:
        """Train on the stream of an experience.

        For each stream batch: observe its classes; make ``online_iter`` updates, each on another
        view and newly drawn replayed samples; then offer it to the buffer, count it, and end a
        ``period`` (None by default) that is over. Plugins act after each update, anytime evaluation
        after the last one. Checkpoints are taken between two stream batches.
        """
        self.set_learning_rate()
        for stream in self._stream_batches():
            if self._stop_training:
                return
            self.batch = stream.first  # which is also the first of its views
            self.mbatch = stream.first.columns
            self.observe_classes(self.mb_y)  # first, since the loss is over the classes seen
            trigger_plugins(self, "start_of_stream_batch")
            if self.remember_first:
                # CLIB trains on its buffer alone, so the batch enters it before the update.
                self._offer(stream, stream.first, None)
            for number, view in enumerate(stream.views, 1):
                if self._stop_training:
                    return  # a plugin stops training: this stream batch is not counted
                batch = self.make_batch(view) if self.buffer_size else view
                self.update(batch, repeated=number > 1, **kwargs)
                if number == self.online_iter:
                    # Before the last iteration ends: plugins evaluate there by samples seen.
                    self._finish_stream_batch(stream)
                self._after_training_iteration(**kwargs)
            self._between_stream_batches(stream.start + stream.size)

    def update(self, batch: Batch, *, repeated: bool = False, **kwargs: Any) -> None:
        """Make one optimizer step, with all of Avalanche's triggers.

        Differences from Avalanche's loop: the forward pass updates the statistics of the head's
        input, the loss is the method's, gradients are clipped, and ``after_step`` follows.

        Args:
            batch: mini-batch.
            repeated: whether the samples are in those statistics already.
            **kwargs: passed to the triggers.
        """
        self.batch = batch
        self.mbatch = batch.columns
        self._before_training_iteration(**kwargs)
        # After the plugins, whose own backward passes must not enter this step.
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
        batch.columns = self.mbatch  # plugins may have replaced it
        # The stream's samples come first in a batch.
        rows = None if self.head.replayed else batch.n_stream
        with self.model.update_statistics(rows, repeated=repeated):
            output = self.output = self.training_output(batch)
        self.mb_output = finite(output.logits)  # Avalanche's metrics would turn -inf into NaN
        self._after_forward(**kwargs)
        # Plugins add their terms to it in before_backward.
        self.loss += self.training_loss(output, batch)
        self._before_backward(**kwargs)
        self.backward()
        self._after_backward(**kwargs)
        # After the plugins, so that they cannot exceed the bound.
        self.clip_gradients()
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        # Not in the plugin, since a given model may have slow heads without it.
        if self.model.slow is not None:
            self.model.slow.update(self.model.head)
        self.after_step(output, batch)
        self.updates += 1
        if self.class_mask == "batch":
            # Such a batch teaches nothing: the loss over its classes is 0.
            self.single_class_batches += (batch.labels == batch.labels[:1]).all()
        self.check_loss()

    def check_loss(self, *, now: bool = False) -> None:
        """Raise an error if the loss is not finite.

        On a GPU, where a check synchronises, only the first and every 50th step is checked.
        """
        if not (now or self.device.type == "cpu" or self.updates % 50 == 1):
            return
        loss = float(self.loss.detach())
        if not math.isfinite(loss):
            logits = None if self.output is None else self.output.logits
            raise fault_of(loss, self.mb_x, logits, self.model.seen, self.samples_seen)

    def _offer(self, stream: StreamBatch, batch: Batch, output: Output | None) -> None:
        """Offer stream samples to the buffer, in the first epoch only."""
        if self.buffer_size and self.clock.train_exp_epochs == 0 and stream.rows is not None:
            self.remember(stream.rows, batch, output)

    def _finish_stream_batch(self, stream: StreamBatch) -> None:
        """Offer a stream batch to the buffer, count it, and end a period that is over."""
        if not self.remember_first:
            self._offer(stream, self.batch, self.output)
        self.samples_seen += stream.size
        trigger_plugins(self, "end_of_stream_batch", samples=stream.size)
        if self.announced or self.period is None or self.samples_seen < self.next_period:
            return
        self.next_period = (self.samples_seen // self.period + 1) * self.period
        self._end_task()
        self.start_period()
        trigger_plugins(self, "start_of_period")

    def _end_task(self) -> None:
        self.finish_task()
        trigger_plugins(self, "end_of_task")

    def _between_stream_batches(self, samples: int) -> None:
        """Call ``between_batches``, which may save the state, after ``samples`` of the epoch."""
        if self.between_batches is None:
            return
        clock = {name: n for name, n in vars(self.clock).items() if isinstance(n, int)}
        # state_dict reads the position in the epoch from here.
        self._inside = {"samples": samples, "clock": clock}
        try:
            self.between_batches()
        finally:
            self._inside = None

    def _after_training_exp(self, **kwargs: Any) -> None:
        # First, so that plugins and evaluation after the experience see the finished task.
        if self.announced and self.task_position.last:
            self._end_task()
        if not self.buffer_size:  # without replay its views are not read again
            self.feature_cache.clear()
        # Plugins of Avalanche compute with the logits (MAS squares them).
        self.model.finite_forward = True
        super()._after_training_exp(**kwargs)
        self.model.finite_forward = False

    def _train_cleanup(self) -> None:
        super()._train_cleanup()
        self.replay.close()
        self.batch = None
        self.output = None

    def optimizer_step(self) -> None:
        """Make a step, and invalidate what is cached for the old parameters."""
        super().optimizer_step()
        # Caches compare version counters, which torch's fused optimizers do not raise.
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    torch.autograd.graph.increment_version(parameter)

    # ------------------------------------------------------------------ loading

    def make_train_dataloader(
        self,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a loader that yields each batch ``online_iter`` times, each in other views."""
        self.replay.workers = num_workers
        data = self.adapted_dataset
        order = self.shuffler if shuffle else None
        self.dataloader = keyed_loader(
            data,
            RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            # A private generator: a loader draws a seed even without workers.
            generator=torch.Generator(),
            **kwargs,
        )

    def _stream_batches(self) -> Iterator[StreamBatch]:
        """Yield the batches of an epoch, from ``place`` if training resumes in it."""
        start = 0
        if self.place is not None:
            start = self.place["samples"]
            self.clock.train_epoch_iterations = self.place["clock"]["train_epoch_iterations"]
            self.place = None
        # A resumed run draws the order of the epoch from this state.
        self._epoch_order = self.shuffler.get_state()
        sampler = own_sampler(self.dataloader)
        if sampler is not None:
            sampler.start = start
            sampler.origin = self.samples_seen - start
            if self.views is not None:
                earlier = self.clock.train_exp_epochs * self.online_iter
                sampler.recurring = RecurringViews(self.views, self.source, earlier)
        for stream in stream_batches(
            self.dataloader,
            self.annotated,
            updates=self.online_iter,
            size=self.train_mb_size,
            n=len(self.experience.dataset),
            start=start,
            device=self.device,
        ):
            if stream.start == start:
                model, labels, seen = self.model, stream.first.labels, self.samples_seen
                check_input(model.backbone, stream.first.images, seen)
                several = model.multi_label
                check_targets(labels, model.n_classes, multi_label=several, first=seen)
            yield stream

    @property
    def source(self) -> int:
        """Number of the current experience in the references of replayed samples."""
        # After an error in training, the clock has not counted an experience that was entered.
        return self.replay.n_sources - 1 if self.buffer_size else self.clock.train_exp_counter

"""The online protocol: the training loop of all strategies, as an Avalanche strategy.

Read it from top to bottom: a call of ``train``, an experience, an epoch, a stream batch, an update.
The hooks that it calls stand in :class:`~cl_prompts.strategies.base.method.Method`.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.training.utils import trigger_plugins

from cl_prompts.backbones.pixels import check_batch
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import has_one_class
from cl_prompts.models.base import Output
from cl_prompts.models.heads import finite
from cl_prompts.strategies.base.experience import (
    announces_boundaries,
    check_labels,
    classes_of,
    highest_class,
    mark_of,
)
from cl_prompts.strategies.base.faults import fault_of
from cl_prompts.strategies.base.method import Method
from cl_prompts.strategies.base.optimizer import count_writes
from cl_prompts.strategies.base.stream import (
    Batch,
    RecurringViews,
    RepeatedBatches,
    StreamBatch,
    keyed_loader,
    own_sampler,
    stream_batches,
)

#: mark of the numbers of training, raised whenever a method comes to other ones from the same
#: settings; runs of different marks are not compared
TRAINING_VERSION = 7


class OnlineStrategy(Method):
    """Base of the strategies: one pass over a stream, several updates per batch, classes observed
    on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as usual. It never uses an experience's id or a task label for
    learning. Differences from Avalanche's own templates:

    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples
      only, not those that plugins add;
    * classes are observed in the labels of the incoming batch, before it is trained on;
    * task boundaries are used where they are announced (see ``boundaries``);
    * experiences with ``ordered=True`` are trained in their order, and no sample is dropped;
    * only parameters that require a gradient enter the optimizer, and its groups are kept.

    With a multi-label model the loss is binary cross-entropy over the classes annotated in the
    experience, since a zero elsewhere has no meaning.

    A method declares its settings, builds its network in :meth:`build_model`, and overrides those
    hooks of :class:`~cl_prompts.strategies.base.method.Method` that it needs. Options that act
    during training are plugins (:class:`~cl_prompts.strategies.base.plugin.StrategyPlugin`).

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
        """Train on one experience or several in turn; ``shuffle`` defaults to False for ordered
        streams.

        ``num_workers``, ``pin_memory`` and the like go to the data loader as in Avalanche;
        ``drop_last`` does not exist, since no sample of a stream is dropped.
        """
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        if self.growing:
            # Before labels are compared with the rows of the head.
            self.grow(max(0, highest_class(experiences) + 1 - self.model.n_classes))
        kwargs.setdefault("shuffle", not any(mark_of(e, "ordered", False) for e in experiences))
        return super().train(experiences, eval_streams, **kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        """Enter an experience, and start its task if it is the first of an announced one."""
        # What is resumed was entered before: its task has started, its samples are known.
        resumed = self.place is not None
        self.announced = announces_boundaries(self.experience, self.boundaries)
        self.check_announced(announced=self.announced)
        check_labels(self.experience, self.model, type(self).__name__)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        self.task_position.enter(self.experience, again=resumed)
        if self.announced and self.task_position.first and not resumed:
            if self.new_optimizer:
                # Momentum of the last task would move parameters that this one leaves alone.
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
            raise InputError(
                "buffer_size and a plugin that replaces the loader: use one of the two"
            )

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        """Train the epochs of an experience; those before ``place`` were trained before."""
        if self.place is not None:
            # Avalanche's clock began at zero with the experience.
            for name, count in self.place["clock"].items():
                setattr(self.clock, name, count)
        for _ in range(self.clock.train_exp_epochs, self.train_epochs):
            self._before_training_epoch(**kwargs)
            if self._stop_training:
                break
            self.training_epoch(**kwargs)
            # On a GPU only every 50th step was checked: check the last one here.
            self.check_loss(now=True)
            self._after_training_epoch(**kwargs)
        self.place = None
        # Stopped in the last epoch: the next experience is trained all the same.
        self._stop_training = False

    def training_epoch(self, **kwargs: Any) -> None:
        """Train on the stream of an experience.

        For each stream batch: observe its classes; make ``online_iter`` updates, each on its next
        view and on newly drawn replayed samples; then remember it, count it, and end a period
        that is over. Plugins are called after each update; anytime evaluation acts after the last
        one, when the batch is counted. Checkpoints are taken between two stream batches.
        """
        self.set_learning_rate()
        for stream in self._stream_batches():
            if self._stop_training:
                return
            self.batch = stream.first
            self.mbatch = stream.first.columns
            # Before the first update, whose loss is over the classes seen.
            self.observe_classes(self.mb_y)
            trigger_plugins(self, "start_of_stream_batch")
            if self.remember_first:
                # CLIB trains on its memory alone, so the batch must be there before the update.
                self._offer(stream, stream.first, None)
            for number, view in enumerate(stream.views, 1):
                if self._stop_training:
                    return  # a plugin gave up: this stream batch is not counted
                self.update(self.make_batch(view), repeated=number > 1, **kwargs)
                if number == self.online_iter:
                    # Before the last iteration ends, so that an evaluation due after these samples
                    # sees them counted.
                    self._finish_stream_batch(stream)
                self._after_training_iteration(**kwargs)
            self._between_stream_batches(stream.start + stream.size)

    def update(self, batch: Batch, *, repeated: bool = False, **kwargs: Any) -> None:
        """Make one optimizer step with all of Avalanche's triggers.

        Beyond Avalanche's own loop: statistics of the head's input are updated in the forward pass,
        the loss is the method's, gradients are clipped, and ``after_step`` follows the step.
        Samples of a ``repeated`` update were counted among those statistics before."""
        self.batch = batch
        self.mbatch = batch.columns
        self._before_training_iteration(**kwargs)
        # Here, since gradients of a plugin's own passes must not enter this step.
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
        batch.columns = self.mbatch  # plugins may have put others in their place
        # The stream's samples come first in a batch.
        rows = None if self.head.replayed else batch.n_stream
        with self.model.update_statistics(rows, repeated=repeated):
            output = self.output = self.training_output(batch)
        # For metrics and plugins alone: Avalanche's would make NaN of the -inf of unseen classes.
        self.mb_output = finite(output.logits)
        self._after_forward(**kwargs)
        # The method's loss; plugins add terms of theirs before the backward pass.
        self.loss += self.training_loss(output, batch)
        self._before_backward(**kwargs)
        self.backward()
        self._after_backward(**kwargs)
        # Behind what plugins change in after_backward, so that they cannot exceed the bound.
        self.clip_gradients()
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        # Here and not in a plugin, since a given model may have slow heads without it.
        if self.model.slow is not None:
            self.model.slow.update(self.model.head)
        # Statistics of the method that are no parameters, such as how often a prompt was chosen.
        self.after_step(output, batch)
        self.updates += 1
        if self.class_mask == "batch":
            self.single_class_batches += has_one_class(batch.labels)
        self.check_loss()

    def check_loss(self, *, now: bool = False) -> None:
        """Stop at a loss that is not finite: checked at every step on the CPU, and on a GPU, where
        a check costs a synchronisation, at the first step and every 50 from there."""
        if not (now or self.device.type == "cpu" or self.updates % 50 == 1):
            return
        loss = float(self.loss.detach())
        if not math.isfinite(loss):
            logits = None if self.output is None else self.output.logits
            raise fault_of(loss, self.mb_x, logits, self.model.seen, self.samples_seen)

    def _offer(self, stream: StreamBatch, batch: Batch, output: Output | None) -> None:
        """Offer stream samples to the buffer, in the first epoch only: later ones show the same."""
        if self.buffer_size and self.clock.train_exp_epochs == 0 and stream.rows is not None:
            self.remember(stream.rows, batch, output)

    def _finish_stream_batch(self, stream: StreamBatch) -> None:
        """Remember and count a stream batch that was trained on, and end a period that is over."""
        if not self.remember_first:
            self._offer(stream, self.batch, self.output)
        self.samples_seen += stream.size
        trigger_plugins(self, "end_of_stream_batch", samples=stream.size)
        if self.announced or self.period is None or self.samples_seen < self.next_period:
            return
        # A batch may overstep the end of a period: the next one ends at its multiple all the same.
        self.next_period = (self.samples_seen // self.period + 1) * self.period
        self._end_task()
        self.start_period()
        trigger_plugins(self, "start_of_period")

    def _end_task(self) -> None:
        self.finish_task()
        trigger_plugins(self, "end_of_task")

    def _between_stream_batches(self, samples: int) -> None:
        """Call ``between_batches``, which may save the state, after so many samples of the
        epoch."""
        if self.between_batches is None:
            return
        clock = {name: n for name, n in vars(self.clock).items() if isinstance(n, int)}
        # state_dict, which is about to be called, reads from here where in the epoch this is.
        self._inside = {"samples": samples, "clock": clock}
        try:
            self.between_batches()
        finally:
            self._inside = None

    def _after_training_exp(self, **kwargs: Any) -> None:
        # First, so that plugins and evaluation after the experience see the finished task.
        if self.announced and self.task_position.last:
            self._end_task()
        if not self.buffer_size:  # its views do not come again
            self.feature_cache.clear()
        # Plugins measure the importance of parameters by what the model gives (MAS squares it).
        self.model.finite_forward = True
        super()._after_training_exp(**kwargs)
        self.model.finite_forward = False

    def _train_cleanup(self) -> None:
        super()._train_cleanup()
        self.replay.close()
        self.batch = None
        self.output = None

    def optimizer_step(self) -> None:
        """Make a step, after which what is cached of the old parameters is out of date."""
        super().optimizer_step()
        count_writes(self.optimizer)

    # ------------------------------------------------------------------ loading

    def make_train_dataloader(
        self,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a loader in stream order, or shuffled by the private generator, that yields each
        batch ``online_iter`` times, each time in other views; replay reads with as many workers."""
        self.replay.workers = num_workers
        data = self.adapted_dataset
        order = self.shuffler if shuffle else None
        self.dataloader = keyed_loader(
            data,
            RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            # A private one: a loader draws a seed even without workers.
            generator=torch.Generator(),
            **kwargs,
        )

    def _stream_batches(self) -> Iterator[StreamBatch]:
        """The batches of an epoch, from the place on at which training resumes."""
        start = 0
        if self.place is not None:
            start = self.place["samples"]
            self.clock.train_epoch_iterations = self.place["clock"]["train_epoch_iterations"]
            self.place = None
        # The state from which a resumed run draws the same order of the epoch.
        self._epoch_order = self.shuffler.get_state()
        sampler = own_sampler(self.dataloader)
        if sampler is not None:
            # What its next pass begins with, and the keys that it gives to views.
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
                check_batch(self.model, stream.first.images, stream.first.labels, self.samples_seen)
            yield stream

    @property
    def source(self) -> int:
        """Number of the current experience, by which replayed samples refer to it."""
        # Where training broke off, the clock did not count an experience that was entered.
        return self.replay.n_sources - 1 if self.buffer_size else self.clock.train_exp_counter

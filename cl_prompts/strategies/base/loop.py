"""Online protocol: the training loop of all strategies.

From top to bottom: an experience, an epoch, a stream batch, an update.
"""

import math
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.utils import trigger_plugins

from cl_prompts.backbones.pixels import check_input, check_targets, fault_of
from cl_prompts.errors import InputError
from cl_prompts.models.base import Output, finite
from cl_prompts.state import State
from cl_prompts.strategies.base import experience
from cl_prompts.strategies.base.cost import TrainingCost
from cl_prompts.strategies.base.stream import (
    Batch,
    StreamBatch,
    own_sampler,
    stream_batches,
)


class OnlineLoop:
    """Training loop on the stream of an experience, with its place for a checkpoint.

    For each stream batch: observe its classes; make ``online_iter`` updates, each on another view
    and newly drawn replayed samples; then offer it to the buffer, count it, and end a ``period``
    (None by default) that is over. Plugins act after each update, anytime evaluation after the last
    one. Checkpoints are taken between two stream batches.

    Attributes:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`, whose hooks the
            loop calls.
        task: position of the current experience in its task.
        place: samples of the next experience's epoch after which training resumes; None for its
            start.
        counters: counters of Avalanche's clock at ``place``.
        inside: samples of the epoch trained on, during a checkpoint; None between experiences.
        epoch_order: state of the strategy's ``shuffler`` before the order of the epoch was drawn.
        stopped: whether a plugin has stopped the training on the experience.
        cost: compute of all training so far.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import LinearProbe
        >>> probe = LinearProbe(backbone=create_backbone(), n_classes=10, evaluator=None)
        >>> probe.loop.place is None
        True
    """

    def __init__(self, strategy: SupervisedTemplate) -> None:
        self.strategy = strategy
        self.task = experience.TaskPosition()
        self.place: int | None = None
        self.inside: int | None = None
        self.counters: dict[str, int] = {}
        self.epoch_order = strategy.shuffler.get_state()
        self.stopped = False
        self.cost = TrainingCost(strategy)

    # ------------------------------------------------------------------ an experience

    def enter(self) -> None:
        """Enter an experience, and start its task if it is the first of an announced one."""
        strategy = self.strategy
        # A resumed experience was entered before: its task has started, its samples are known.
        resumed = self.place is not None
        own = strategy.experience
        strategy.announced = experience.announces_boundaries(own, strategy.boundaries)
        strategy.check_announced(announced=strategy.announced)
        experience.check_labels(own, strategy.model, type(strategy).__name__)
        classes = experience.classes_of(own, strategy.model.n_classes)
        strategy.annotated = classes.to(strategy.device)
        self.task.enter(strategy.experience, again=resumed)
        if not resumed:
            strategy.replay.enter(strategy.experience, classes)
            if strategy.one_view:
                n_samples = len(strategy.experience.dataset)
                strategy.feature_cache.reserve(strategy.replay.current, n_samples)
        if strategy.announced and self.task.first and not resumed:
            if strategy.new_optimizer:
                # Momentum of the last task would move parameters that this task does not train.
                strategy.optimizer.state = defaultdict(dict)
            strategy.tasks_started += 1
            with self.cost.counting():
                strategy.start_task(strategy.annotated)
                trigger_plugins(strategy, "start_of_task")

    def train(self, **kwargs: object) -> None:
        """Train the epochs of the experience, from the place where training resumes."""
        strategy = self.strategy
        if strategy.buffer_size and own_sampler(strategy.dataloader) is None:
            raise InputError("a plugin replaces the data loader: leave it or buffer_size out")
        self._restore_clock()
        for _ in range(strategy.clock.train_exp_epochs, strategy.train_epochs):
            trigger_plugins(strategy, "before_training_epoch", **kwargs)
            if self.stopped:
                break
            strategy.training_epoch(**kwargs)
            # On a GPU only every 50th loss was checked.
            self.check_loss(now=True)
            trigger_plugins(strategy, "after_training_epoch", **kwargs)
        self.place = None
        # A plugin that stops this experience does not stop the next one.
        self.stopped = False

    def leave(self) -> None:
        """End the task if the experience is the last of an announced one."""
        if self.strategy.announced and self.task.last:
            self.end_task()
        if not self.strategy.buffer_size:  # without replay its views are not read again
            self.strategy.feature_cache.clear()

    def end_task(self) -> None:
        """End an announced task, or a period."""
        with self.cost.counting():
            self.strategy.finish_task()
            trigger_plugins(self.strategy, "end_of_task")

    # ------------------------------------------------------------------ an epoch

    def epoch(self, **kwargs: object) -> None:
        """Train on the stream of the experience."""
        strategy, budget = self.strategy, self.strategy.budget
        strategy.set_learning_rate()
        for stream in self._stream_batches():
            skipped = budget is not None and not budget.admits(strategy, stream)
            if self.stopped:
                return
            trigger_plugins(strategy, "arrival_of_stream_batch", stream=stream, skipped=skipped)
            if skipped:
                strategy.samples_seen += stream.size
                trigger_plugins(strategy, "end_of_skipped_batch")
            elif not self._train_on(stream, **kwargs):
                return  # a plugin stops training: this stream batch is not counted
            self.checkpoint(stream.start + stream.size)

    def _train_on(self, stream: StreamBatch, **kwargs: object) -> bool:
        """Make the updates on a stream batch; return False if a plugin stopped them."""
        strategy = self.strategy
        strategy.batch = stream.first  # which is also the first of its views
        strategy.mbatch = stream.first.columns
        # First, since the loss is over the classes seen.
        strategy.observe_classes(stream.first.labels)
        with self.cost.counting("start"):
            trigger_plugins(strategy, "start_of_stream_batch")
        if strategy.remember_first:
            # CLIB trains on its buffer alone, so the batch enters it before the update.
            self._offer(stream, None)
        for number, view in enumerate(stream.views, 1):
            if self.stopped:
                return False
            batch = strategy.make_batch(view) if strategy.buffer_size else view
            # Updates of a kind cost the same, but for frozen passes that are cached.
            kind = f"{len(batch.labels)} of task {strategy.tasks_started}"
            with self._phase(number, stream.size) as head:
                # A budget counts updates by the cost of one that trains prompts.
                counted = 0 if head else stream.size
                with self.cost.counting(f"{kind}{head}", update_on=counted):
                    self.update(batch, repeated=number > 1, **kwargs)
            last = number >= self._wanted(stream.size)
            if last:
                # Before the last iteration ends: plugins evaluate there by samples seen.
                self._finish(stream)
            trigger_plugins(strategy, "after_training_iteration", **kwargs)
            if last:
                break
        return True

    def _wanted(self, n: int) -> int:
        """Number of updates on a batch of ``n`` stream samples."""
        strategy, budget = self.strategy, self.strategy.budget
        return int(budget.updates(strategy, n) if budget else strategy.online_iter)

    @contextmanager
    def _phase(self, number: int, n: int) -> Iterator[str]:
        """Context of an update on ``n`` stream samples; yield a word if the head alone trains."""
        strategy, model = self.strategy, self.strategy.model
        if model.patches is None:
            yield ""
            return
        model.patches.update = strategy.updates
        # CPS-Prompt's second phase: the last epochs of a task, or else the last update on a batch.
        head = number > 1 and number >= self._wanted(n)
        if strategy.announced and model.patches.dense_epochs:
            left = strategy.train_epochs - strategy.clock.train_exp_epochs
            head = left <= model.patches.dense_epochs
        with model.head_phase() if head else nullcontext():
            yield ", head" if head else ""

    def update(self, batch: Batch, *, repeated: bool = False, **kwargs: object) -> None:
        """Make one optimizer step, with all of Avalanche's triggers.

        Differences from Avalanche's loop: the forward pass updates the statistics of the head's
        input, the loss is the method's, gradients are clipped, and ``after_step`` follows.

        Args:
            batch: mini-batch.
            repeated: whether the samples are in those statistics already.
            **kwargs: passed to the triggers.
        """
        strategy, model = self.strategy, self.strategy.model
        strategy.batch = batch
        strategy.mbatch = batch.columns
        trigger_plugins(strategy, "before_training_iteration", **kwargs)
        # After the plugins, whose own backward passes must not enter this step.
        strategy.optimizer.zero_grad()
        strategy.loss = torch.zeros(1, device=strategy.device)
        trigger_plugins(strategy, "before_forward", **kwargs)
        batch.columns = strategy.mbatch  # plugins may have replaced it
        # The stream's samples come first in a batch.
        rows = None if strategy.head.replayed else batch.n_stream
        with model.update_statistics(rows, repeated=repeated):
            output = strategy.output = strategy.training_output(batch)
        strategy.mb_output = finite(output.logits)  # Avalanche's metrics would turn -inf into NaN
        trigger_plugins(strategy, "after_forward", **kwargs)
        strategy.loss += strategy.training_loss(output, batch)
        trigger_plugins(strategy, "before_backward", **kwargs)  # where plugins add their terms
        strategy.backward()
        trigger_plugins(strategy, "after_backward", **kwargs)
        strategy.clip_gradients()  # after the plugins, so that they cannot exceed the bound
        trigger_plugins(strategy, "before_update", **kwargs)
        strategy.optimizer_step()
        trigger_plugins(strategy, "after_update", **kwargs)
        strategy.after_step(output, batch)
        strategy.updates += 1
        self.check_loss()

    def check_loss(self, *, now: bool = False) -> None:
        """Raise an error if the loss is not finite.

        On a GPU, where a check synchronises, only the first and every 50th step is checked.
        """
        strategy = self.strategy
        if not (now or strategy.device.type == "cpu" or strategy.updates % 50 == 1):
            return
        loss = float(strategy.loss.detach())
        if not math.isfinite(loss):
            logits = None if strategy.output is None else strategy.output.logits
            seen = strategy.model.seen
            raise fault_of(loss, strategy.mb_x, logits, seen, strategy.samples_seen)

    # ------------------------------------------------------------------ a stream batch

    def _stream_batches(self) -> Iterator[StreamBatch]:
        """Yield the batches of an epoch, from the place where training resumes."""
        strategy, model = self.strategy, self.strategy.model
        start = self.start_epoch()
        for stream in stream_batches(strategy, start):
            if stream.start == start:
                first, seen = stream.first, strategy.samples_seen
                check_input(model.backbone, first.images, seen)
                several = model.multi_label
                check_targets(first.labels, model.n_classes, multi_label=several, first=seen)
            yield stream

    def _offer(self, stream: StreamBatch, output: Output | None) -> None:
        """Offer stream samples to the buffer, in the first epoch only."""
        strategy = self.strategy
        if strategy.buffer_size and strategy.clock.train_exp_epochs == 0:
            # CLIB reads the features of samples that enter its buffer.
            with self.cost.counting("remember"):
                strategy.remember(stream.rows, strategy.batch, output)

    def _finish(self, stream: StreamBatch) -> None:
        """Offer a stream batch to the buffer, count it, and end a period that is over."""
        strategy = self.strategy
        if not strategy.remember_first:
            self._offer(stream, strategy.output)
        strategy.samples_seen += stream.size
        trigger_plugins(strategy, "end_of_stream_batch", samples=stream.size)
        period = strategy.period
        if strategy.announced or period is None or strategy.samples_seen < strategy.next_period:
            return
        strategy.next_period = (strategy.samples_seen // period + 1) * period
        self.end_task()
        strategy.start_period()
        trigger_plugins(strategy, "start_of_period")

    # ------------------------------------------------------------------ resuming

    def start_epoch(self) -> int:
        """Start an epoch; return the number of its samples that were trained on before."""
        # A resumed run draws the order of the epoch from this state.
        self.epoch_order = self.strategy.shuffler.get_state()
        self._restore_clock()
        start, self.place = self.place or 0, None
        return start

    def restore(self, state: State) -> None:
        """Restore the counters of a strategy's state, and its place."""
        self.task.samples = int(state["samples_of_task"])
        self.cost.load_state_dict(state["cost"])
        self.place, self.counters = state["place"], state["clock"]
        vars(self.strategy.clock).update(self.counters)

    def _restore_clock(self) -> None:
        """Restore the counters, which Avalanche has set to zero, if training resumes."""
        if self.place is not None:
            vars(self.strategy.clock).update(self.counters)

    def checkpoint(self, samples: int) -> None:
        """Call ``between_batches``, which may save the state, after ``samples`` of the epoch."""
        if self.strategy.between_batches is None:
            return
        self.inside = samples
        try:
            self.strategy.between_batches()
        finally:
            self.inside = None

"""The online protocol: the training loop of all strategies.

Each function is called with the strategy, as ``self``. Those that a method may call or replace are
bound in :class:`~cl_prompts.strategies.base.online.OnlineStrategy`, which declares the hooks that
they call; Avalanche's events have an underscore in front.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from avalanche.training.utils import trigger_plugins
from torch import Tensor

from cl_prompts.backbones.pixels import check_batch, check_kind
from cl_prompts.datasets.items import writes_into
from cl_prompts.errors import InputError, unknown
from cl_prompts.losses.classification import batch_classes, has_one_class
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import Output
from cl_prompts.models.heads import finite
from cl_prompts.models.surroundings import refuse_autocast
from cl_prompts.strategies.base.avalanche import LOADER_ARGUMENTS
from cl_prompts.strategies.base.faults import blame
from cl_prompts.strategies.base.stream import (
    Batch,
    RecurringViews,
    RepeatedBatches,
    StreamBatch,
    StreamLoader,
    keyed_loader,
)
from cl_prompts.training.seeds import derived_seed

if TYPE_CHECKING:
    from cl_prompts.strategies.base.online import OnlineStrategy


def training_epoch(self: OnlineStrategy, **kwargs: Any) -> None:
    """Train on the stream of an experience.

    For each stream batch: observe its classes; make ``online_iter`` updates, each on another
    view of it and on newly drawn replayed samples; then remember it, count it, and end a period
    that is over. Metrics and anytime evaluation look after each update, checkpoints between two
    stream batches.
    """
    self.set_learning_rate()
    for stream in stream_batches(self):
        if self._stop_training:
            return
        # For plugins that look at the start of a stream batch; updates set them to their own.
        with changes_noted(self, stream.first):
            # Before the first update, whose loss is over the classes seen.
            self.observe_classes(self.mb_y)
            trigger_plugins(self, "start_of_stream_batch")
        if self.remember_first:
            # CLIB trains on its memory alone, so the batch must be there before the update.
            _offer(self, stream, stream.first, None)
        for number, view in enumerate(stream.views, 1):
            if self._stop_training:
                return  # a plugin gave up: this stream batch is not counted
            self.update(self.make_batch(view), repeated=number > 1, **kwargs)
            # Views are as many as updates: this is the last one.
            if number == self.online_iter:
                # Before the last iteration ends, so that an evaluation due after these samples
                # sees them counted.
                finish_stream_batch(self, stream)
            self._after_training_iteration(**kwargs)
        between_stream_batches(self, stream.start + stream.size)


def update(self: OnlineStrategy, batch: Batch, *, repeated: bool = False, **kwargs: Any) -> None:
    """Make one optimizer step with all of Avalanche's triggers.

    Beyond Avalanche's own loop: statistics of the head's input are updated in the forward pass,
    the loss is the method's, gradients are clipped, and ``after_step`` follows the step.

    Args:
        batch: what to train on.
        repeated: another update on the stream batch that came last, whose samples were counted
            among the statistics of the head's input.
        **kwargs: handed to plugins.
    """
    with changes_noted(self, batch):
        self._before_training_iteration(**kwargs)
        # Here, since gradients of a plugin's own passes must not enter this step.
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
    # Here, since a plugin may have entered it.
    refuse_autocast(self.device)
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
    # A given model's, too, where no plugin made them: in evaluation they decide.
    if self.model.slow is not None:
        self.model.slow.update(self.model.head)
    # Statistics of the method that are no parameters, such as how often a prompt was chosen.
    self.after_step(output, batch)
    self.updates += 1
    if self.class_mask == "batch":
        self.single_class_batches += has_one_class(batch.labels)
    # A GPU is asked every 50 steps alone, so that a check before the step would protect nothing.
    self.check_loss()


@contextmanager
def changes_noted(self: OnlineStrategy, batch: Batch) -> Iterator[None]:
    """Show a batch to plugins, and take over what they make of it. Where they change its images or
    labels, in place or by others, these are looked at as the loader's were, and its samples are no
    known views any more; rows that they append count as samples of the stream."""
    self.batch = batch
    self.mbatch = batch.columns
    before = as_shown(self)
    yield
    if is_changed(self, before):
        labels, writes = before[1]
        now = self.mbatch[1]
        if self.buffer_size and (writes_into(labels) != writes or not torch.equal(labels, now)):
            raise InputError(
                "a plugin changed the labels or rows of a batch, and the replay buffer refers to"
                " samples by their place in it: leave buffer_size at 0, or the batch as it is"
            )
        batch.samples = None
        batch.host_labels = None
        check_batch(self.model, *self.mbatch[:2])
    batch.columns = self.mbatch


def as_shown(self: OnlineStrategy) -> list[tuple[Tensor, int | None]]:
    """Images and labels of the current batch, each with the number of writes into it."""
    return [(column, writes_into(column)) for column in self.mbatch[:2]]


def is_changed(self: OnlineStrategy, shown: list[tuple[Tensor, int | None]]) -> bool:
    """Whether images or labels of the current batch are others than :func:`as_shown` has noted, or
    were written to."""
    return any(
        now is not column or writes_into(now) != writes
        for now, (column, writes) in zip(self.mbatch[:2], shown, strict=True)
    )


def finish_stream_batch(self: OnlineStrategy, stream: StreamBatch) -> None:
    """Remember and count a stream batch that was trained on, and end a period that is over."""
    if not self.remember_first:
        _offer(self, stream, self.batch, self.output)
    self.samples_seen += stream.size
    trigger_plugins(self, "end_of_stream_batch", samples=stream.size)
    if self.announced or self.period is None or self.samples_seen < self.next_period:
        return
    # A batch may overstep the end of a period: the next one ends at its multiple all the same.
    self.next_period = (self.samples_seen // self.period + 1) * self.period
    self._end_task()
    self.start_period()
    trigger_plugins(self, "start_of_period")


def between_stream_batches(self: OnlineStrategy, samples: int) -> None:
    """Drop what was cached for the last stream batch alone, and call ``between_batches``, which may
    save the state.

    Args:
        samples: of the current epoch that were trained on.
    """
    self.feature_cache.next_batch()
    if self.between_batches is None:
        return
    clock = {name: n for name, n in vars(self.clock).items() if isinstance(n, int)}
    # state_dict, which is about to be called, reads from here where in the epoch this is.
    self._inside = {"samples": samples, "clock": clock}
    try:
        self.between_batches()
    finally:
        self._inside = None


def _offer(self: OnlineStrategy, stream: StreamBatch, batch: Batch, output: Output | None) -> None:
    """Offer stream samples to the buffer, in the first epoch only."""
    # Later epochs show the same samples. A foreign loader, which is refused beside a buffer, does
    # not say which it shows.
    if self.buffer_size and self.clock.train_exp_epochs == 0 and stream.rows is not None:
        self.remember(stream.rows, batch, output)


# --------------------------------------------------------------------------- the loader


def make_train_dataloader(
    self: OnlineStrategy,
    num_workers: int = 0,
    shuffle: bool = True,
    pin_memory: bool | None = None,
    **kwargs: Any,
) -> None:
    """Make a loader in stream order, or shuffled by the private generator, that yields each
    batch ``online_iter`` times, each time in other views; replay reads with as many workers."""
    if wrong := sorted(set(kwargs) - LOADER_ARGUMENTS):
        raise unknown("loader argument", wrong[0], LOADER_ARGUMENTS)
    self.replay.workers = num_workers
    data = self.adapted_dataset
    order = self.shuffler if shuffle else None
    batches = RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order)
    generator = torch.Generator()
    if num_workers:
        # Worker processes take their seeds from it, a resumed run the same ones.
        generator.manual_seed(derived_seed(self.seed, self.samples_seen))
    self.dataloader = keyed_loader(
        data,
        batches,
        check=self.replay.check,
        num_workers=num_workers,
        pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
        # torch's loader draws a seed even without workers, by default from the global generator.
        generator=generator,
        **kwargs,
    )


def stream_batches(self: OnlineStrategy) -> Iterator[StreamBatch]:
    """The batches of an epoch, from the place on at which training resumes."""
    start = 0
    if self.place is not None:
        start = self.place["samples"]
        self.clock.train_epoch_iterations = self.place["clock"]["train_epoch_iterations"]
        self.place = None
    recurring = None
    if self.views is not None:
        earlier = self.clock.train_exp_epochs * self.online_iter
        recurring = RecurringViews(self.views, self.source, earlier)
    # The state from which a resumed run draws the same order of the epoch.
    self._epoch_order = self.shuffler.get_state()
    loader = StreamLoader(
        loader=self.dataloader,
        updates=self.online_iter,
        size=self.train_mb_size,
        n=len(self.experience.dataset),
        annotated=self.annotated,
        start=start,
        origin=self.samples_seen - start,
        recurring=recurring,
        device=self.device,
    )
    for stream in loader:
        # Our own loader checks the pixels of every view; a foreign one's are checked here.
        if stream.start == start or stream.rows is None:
            check_batch(self.model, stream.first.images, stream.first.labels)
        check_kind(self.model, stream.first.labels)
        yield stream


# --------------------------------------------------------------------------- parts of an update


def label_loss(
    self: OnlineStrategy, logits: Tensor, batch: Batch, *, whole: Batch | None = None
) -> Tensor:
    """Cross-entropy over the classes that compete (``class_mask``); multi-label: binary, over
    the annotated classes.

    Args:
        logits: (batch, classes) of the batch's samples.
        batch: a batch, or a part of one.
        whole: the batch that ``batch`` is a part of, if it is one (DER++ replays in two parts).
    """
    if self.model.multi_label:
        return multi_label_loss(logits, batch.labels, batch.annotated, norm=self.loss_norm)
    return F.cross_entropy(self.competing_logits(logits, batch, whole=whole), batch.labels)


def competing_logits(
    self: OnlineStrategy, logits: Tensor, batch: Batch, *, whole: Batch | None = None
) -> Tensor:
    """Logits with those of classes that do not compete (``class_mask``) at -inf; the arguments
    are those of :func:`label_loss`."""
    if self.class_mask == "batch":
        competing = self.competing_classes((whole or batch).labels)
        return logits.masked_fill(~competing, float("-inf"))
    if self.class_mask == "current" and self.announced:
        competing = batch.annotated.expand_as(logits)
        # The loss of a sample whose own class does not compete would be infinite: all seen
        # classes compete for it.
        foreign = ~competing.gather(1, batch.labels[:, None])
        return logits.masked_fill(~(competing | foreign), float("-inf"))
    # "seen": the model has hidden the classes that were not.
    return logits


def competing_classes(self: OnlineStrategy, labels: Tensor) -> Tensor:
    """Classes that compete in a loss over a whole batch, (classes,) boolean: those of the batch, or
    all that were seen.

    Args:
        labels: (batch,) of the batch, replayed samples included.
    """
    if self.class_mask == "batch":
        return batch_classes(labels, self.model.n_classes)
    seen: Tensor = self.model.seen
    return seen


def clip_gradients(self: OnlineStrategy) -> None:
    """Bound the gradient's global norm by ``clip_norm``, if given."""
    if self.clip_norm is not None:
        trained = [p for p in self.model.parameters() if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)


def check_loss(self: OnlineStrategy, *, now: bool = False) -> None:
    """Stop at a loss that is not finite: checked at every step on the CPU, and on a GPU, where
    a check costs a synchronisation, at the first step and every 50 from there."""
    due = now or self.device.type == "cpu" or self.updates % 50 == 1
    if due and not math.isfinite(float(self.loss.detach())):
        logits = None if self.output is None else self.output.logits
        raise blame(
            float(self.loss.detach()),
            self.mb_x,
            self.model,
            self.samples_seen,
            logits,
            (self, *self.plugins),
        )

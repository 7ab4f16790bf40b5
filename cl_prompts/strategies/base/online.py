"""What all strategies share: a training loop on Avalanche's template, and nothing about any one
method."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.training.plugins.evaluation import default_evaluator
from torch import Tensor
from torch.optim import Optimizer

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.errors import InputError, RunError
from cl_prompts.losses.multi_label import LossNorm, multi_label_loss
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.heads import FINITE_MASK
from cl_prompts.strategies.base.batch import Batch, StreamShare
from cl_prompts.strategies.base.experience import TaskPosition, whole_of
from cl_prompts.strategies.base.labels import check_labels, classes_of
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.base.settings import Declared
from cl_prompts.strategies.base.template import (
    StreamTemplate,
    multi_label_evaluator,
    silent_evaluator,
)
from cl_prompts.strategies.plugins.multi_label_metrics import refuse_accuracy
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer
from cl_prompts.training.schedules import Schedule, learning_rate_factor, scale_learning_rates

ClassMask = Literal["current", "seen"]


class OnlineStrategy(StreamTemplate, Declared):
    """Base of the strategies: one pass over a stream, several updates a batch, classes discovered
    on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as everywhere. It never uses an experience's id or a task label for
    learning. Differences from Avalanche's own templates, beside those of
    :class:`~cl_prompts.strategies.base.template.StreamTemplate`:

    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples,
      whatever plugins add;
    * classes are opened from the labels of the incoming batch, before it is trained on;
    * task boundaries count where they are announced (``experience.boundaries``; see
      ``boundaries``).

    With a multi-label model the loss is binary cross-entropy over the classes annotated in the
    experience (``classes_in_this_experience``), since a zero elsewhere says nothing.

    A method declares its settings (see :class:`~cl_prompts.strategies.base.settings.Declared`),
    builds its network in :meth:`build_model`, and overrides those of the hooks below
    ``build_model`` that it needs.

    Raises:
        InputError: a setting that is unknown or out of range, or not defined for the method.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models.prompted import PromptedViT
        >>> class Probe(OnlineStrategy):
        ...     def build_model(self, backbone: FrozenViT, n_classes: int) -> PromptedViT:
        ...         return PromptedViT(backbone, n_classes)
        >>> probe = Probe(backbone=create_backbone(), n_classes=10, lr=1e-3, evaluator=None)
        >>> probe.optimizer.param_groups[0]["lr"]
        0.001
    """

    backbone: FrozenViT | None = None
    """The frozen ViT; with ``n_classes`` builds the model."""
    n_classes: Count | None = None
    """Classes of the data set: columns of the head."""
    model: Any = None
    """Instead of the two, a model such as ``build_model`` makes."""
    multi_label: bool = False
    """An image may show several classes."""
    optimizer: Any = None
    """Over the model's trainable parameters; by default Adam with ``lr``."""
    lr: Positive = 5e-3
    """Learning rate of the default optimizer."""
    train_mb_size: Count = 64
    """Stream samples per batch."""
    eval_mb_size: Count = 128
    """Test images per batch."""
    train_epochs: Count = 1
    """Passes over each experience; 1 is the online protocol."""
    online_iter: Count = 3
    """Updates per stream batch, each with its own augmentation and buffer samples."""
    buffer_size: Size = 0
    """Samples in a replay buffer, 0 for none."""
    buffer_batch_size: Count | None = None
    """Replayed samples that join each stream batch; None for half of ``train_mb_size``."""
    boundaries: bool | None = None
    """Whether the start of an experience is a task boundary that the method may use: True
    (task-aware), False (task-free), or None for what the experience announces (incremental
    scenarios do, blurry and online streams do not)."""
    period: Count | None = None
    """Where no boundary is announced, what a method does at the end of a task (if it does
    anything) happens after every so many stream samples; None for never."""
    schedule: Schedule = "constant"
    """Of the learning rate over the epochs of one experience: ``"constant"``, ``"cosine"`` (to
    zero, per epoch) or ``"coda"`` (CODA-Prompt's, to 1.6 %)."""
    new_optimizer: bool = False
    """Start each announced task with fresh optimizer state."""
    clip_norm: Positive | None = None
    """Bound on the gradient's global norm; None for none."""
    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy of a single-label task whose boundary is
    announced: ``"seen"``, all classes met so far, or ``"current"``, those of the task (a replayed
    sample: those of its own task), so that head rows of other classes get no gradient. Without
    announced boundaries it is always the former. A sample whose class is not among its task's,
    which only a plugin can bring, is scored over the classes seen."""
    loss_norm: LossNorm = "current"
    """Of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"`` (see
    :func:`~cl_prompts.losses.multi_label.multi_label_loss`)."""
    device: Any = "auto"
    """``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ..."""
    plugins: Any = None
    """Avalanche plugins; the list is copied."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for silence."""
    eval_every: int = -1
    """As in Avalanche (periodic evaluation; -1 for none). For evaluation by sample count see
    :class:`~cl_prompts.strategies.AnytimeEvaluation`."""
    seed: int = 0
    """Of the private generators (buffer, shuffling)."""

    masks_classes: ClassVar[bool] = True
    """Whether the method's loss knows ``class_mask="current"``."""
    whole_stream: ClassVar[bool] = False
    """Whether ``train`` wants all experiences at once."""
    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before they are trained on, instead of after."""

    def __init__(self, **settings: Any) -> None:
        self.take(settings)
        self.check_settings()
        self.device = pick_device(self.device)
        model = self._given_or_built()
        evaluator = self.evaluator
        if model.multi_label and evaluator is default_evaluator:
            evaluator = multi_label_evaluator
        model.to(self.device)
        super().__init__(
            model=model,
            optimizer=self.optimizer or self.default_optimizer(model, self.lr),
            train_mb_size=self.train_mb_size,
            eval_mb_size=self.eval_mb_size,
            train_epochs=self.train_epochs,
            device=self.device,
            plugins=list(self.plugins or ()),
            evaluator=evaluator if evaluator is not None else silent_evaluator,
            eval_every=self.eval_every,
        )
        if model.multi_label:
            refuse_accuracy(self.evaluator)
        self.replay = Replay(
            self.make_buffer(self.buffer_size, self.seed),
            self.buffer_batch_size or max(1, self.train_mb_size // 2),
        )
        self.annotated = torch.ones(model.n_classes, dtype=torch.bool, device=self.device)
        """Classes that the current experience labels, (classes,)."""
        self.tasks_started = 0
        """Announced tasks begun so far."""
        self.samples_seen = 0
        """Stream samples trained on so far, each counted once (per epoch)."""
        self.updates = 0
        """Optimizer steps so far."""
        self.shuffler = torch.Generator().manual_seed(self.seed)
        self._next_period = self.period or 0
        self._position = TaskPosition()

    def _given_or_built(self) -> ContinualModel:
        """The model that was given, or the method's own on the given backbone."""
        model: ContinualModel | None = self.model
        if model is None:
            if self.backbone is None or self.n_classes is None:
                raise InputError("give either model= or both backbone= and n_classes=")
            model = self.build_model(self.backbone, self.n_classes)
        if model.multi_label and "multi_label" not in self.settings():
            raise InputError(
                f"{type(self).__name__} is defined for one class per image: give it a model that"
                " is not multi-label"
            )
        return model

    # ------------------------------------------------------------------ what a method overrides

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's network from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model: give model=")

    def check_settings(self) -> None:
        """Refuse settings that contradict each other; words and bounds are checked before."""
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(
                f"the loss of {type(self).__name__} is over all classes seen: leave out"
                " class_mask=current"
            )

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
        """Called at each announced task boundary, before its first batch, with the task's classes
        (classes,) boolean."""

    def finish_task(self) -> None:
        """Called behind the last sample of an announced task, or every ``period`` samples where
        none is announced."""

    def observe_classes(self, labels: Tensor) -> None:
        """Called with the labels of each stream batch before it is trained on; opens its
        classes."""
        self.model.observe_classes(labels)

    def make_batch(self, stream: list[Tensor]) -> Batch:
        """Join the columns of a stream batch with replayed samples, drawn anew."""
        none = torch.zeros(0, dtype=torch.int64)
        if len(self.replay) == 0:
            return Batch(stream, self.annotated, none)
        extra, annotated, slots = self.replay.draw()
        of_stream = self.annotated.expand(len(stream[0]), -1)
        return Batch(
            [torch.cat([a, b.to(self.device)]) for a, b in zip(stream, extra, strict=True)],
            torch.cat([of_stream, annotated.to(self.device)]),
            slots,
        )

    def training_output(self, batch: Batch) -> Output:
        """Run the model on a batch."""
        return self.model.run(batch.images)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """The method's loss on a batch: by default :meth:`label_loss`."""
        return self.label_loss(output.logits, batch)

    def label_loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """Cross-entropy over the classes that compete (``class_mask``); multi-label: binary, over
        the annotated classes.

        Args:
            logits: (batch, classes) of the batch's samples.
            batch: a batch, or a part of one.
        """
        if self.model.multi_label:
            return multi_label_loss(logits, batch.labels, batch.annotated, norm=self.loss_norm)
        if self.class_mask == "current" and self.announced:
            competing = batch.annotated.expand_as(logits)
            foreign = ~competing.gather(1, batch.labels[:, None])
            logits = logits.masked_fill(~(competing | foreign), float("-inf"))
        return F.cross_entropy(logits, batch.labels)

    def after_step(self, output: Output, batch: Batch) -> None:
        """Called after each optimizer step, for a method's statistics."""

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer a batch's stream samples to the buffer; called once for each sample.

        Args:
            rows: (n,) rows of the current experience: the first n samples of the batch.
            batch: that was just trained on or, with ``remember_first``, is about to be.
            output: of the update just made; None with ``remember_first``.
        """
        self.replay.add(rows, batch.labels[: len(rows)].cpu())

    # ------------------------------------------------------------------ Avalanche's hooks

    def forward(self) -> Tensor:
        """Logits with a large finite negative for masked classes, so that any loss or metric stays
        finite."""
        return self._finite(self.model.run(self.mb_x).logits)

    def criterion(self) -> Tensor:
        """In evaluation: plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)

    def _finite(self, logits: Tensor) -> Tensor:
        if self.model.multi_label:
            return logits
        return logits.masked_fill(logits == float("-inf"), FINITE_MASK)

    def _before_training_exp(self, **kwargs: Any) -> None:
        self.check_experience(self.experience)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        self._position.enter(self.experience)
        if self.announced and self._position.first:
            if self.new_optimizer:
                self.optimizer.state = defaultdict(dict)
            self.tasks_started += 1
            self.start_task(self.annotated)
        super()._before_training_exp(**kwargs)
        self.replay.enter(self.experience, self.annotated.cpu())
        if self.buffer.size and self.batches is None:
            raise InputError(
                "buffer_size and a plugin that replaces the data loader cannot be combined: use one"
                " of the two"
            )

    def _after_training_exp(self, **kwargs: Any) -> None:
        if self.announced and self._position.last:
            self.finish_task()
        super()._after_training_exp(**kwargs)

    @property
    def announced(self) -> bool:
        """Whether the boundaries of the current experience are the learner's to know.

        Experiences say so by ``boundaries``, Avalanche's mini-experiences by
        ``access_task_boundaries``; those of other benchmarks, which say nothing, announce theirs.
        """
        if self.boundaries is not None:
            return self.boundaries
        if not getattr(self.experience, "access_task_boundaries", True):
            return False
        return bool(getattr(whole_of(self.experience), "boundaries", True))

    @property
    def buffer(self) -> Any:
        """The replay buffer; empty with ``buffer_size=0``."""
        return self.replay.buffer

    # ------------------------------------------------------------------ the loop

    def training_epoch(self, **kwargs: Any) -> None:
        """Each stream batch: open its classes, make ``online_iter`` updates, then count it and
        offer it to the buffer."""
        self.set_learning_rate()
        loaded = self.batches.repeats if self.batches is not None else 1
        n = len(self.experience.dataset)
        position = 0
        for i, minibatch in enumerate(self.dataloader):
            if self._stop_training:
                break
            self.mbatch = minibatch
            self._unpack_minibatch()
            stream = self.mbatch
            repetition = i % loaded
            share = StreamShare(position, min(self.train_mb_size, n - position))
            if repetition == 0:
                self.observe_classes(self.mb_y)
                if self.remember_first:
                    self._offer(share, Batch(stream, self.annotated, torch.zeros(0)), None)
            for inner in range(self.online_iter // loaded):
                last = repetition + inner + 1 == self.online_iter
                self.update(self.make_batch(stream), share if last else None, **kwargs)
            position += share.size if repetition == loaded - 1 else 0
        self.check_loss(now=True)

    def update(self, batch: Batch, finished: StreamShare | None = None, **kwargs: Any) -> None:
        """One optimizer step with all of Avalanche's triggers.

        Args:
            batch: what to train on.
            finished: the share of the stream that is done with after it.
            **kwargs: handed to plugins.
        """
        self.mbatch = batch.columns
        self._before_training_iteration(**kwargs)
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
        batch.columns = self.mbatch  # a plugin may have changed it
        output = self.training_output(batch)
        self.mb_output = self._finite(output.logits)
        self._after_forward(**kwargs)
        self.loss += self.training_loss(output, batch)
        self._before_backward(**kwargs)
        self.backward()
        self._after_backward(**kwargs)
        self.clip_gradients()
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        self.after_step(output, batch)
        self.updates += 1
        self.check_loss()
        if finished is not None:
            self._finish(finished, batch, output)
        self._after_training_iteration(**kwargs)

    def _finish(self, share: StreamShare, batch: Batch, output: Output) -> None:
        """Count samples of the stream that will not be trained on again in this epoch."""
        if not self.remember_first:
            self._offer(share, batch, output)
        self.samples_seen += share.size
        if self.period is None or self.announced or self.samples_seen < self._next_period:
            return
        self._next_period = (self.samples_seen // self.period + 1) * self.period
        self.finish_task()

    def clip_gradients(self) -> None:
        """Bound the gradient's global norm, if ``clip_norm`` says so."""
        if self.clip_norm is not None:
            trained = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    def _offer(self, share: StreamShare, batch: Batch, output: Output | None) -> None:
        """Offer the batch's stream samples to the buffer: in the first epoch only."""
        if self.buffer.size and self.clock.train_exp_epochs == 0 and self.batches is not None:
            rows = self.batches.order[share.start : share.start + share.size]
            self.remember(rows, batch, output)

    def learning_rate_factor(self) -> float:
        """What the schedule multiplies each group's own rate with in this epoch."""
        return learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)

    def set_learning_rate(self) -> None:
        """The schedule's rate for this epoch of the experience, on top of each group's own."""
        if self.schedule != "constant":
            scale_learning_rates(self.optimizer, self.learning_rate_factor())

    def check_loss(self, *, now: bool = False) -> None:
        """Refuse to go on from a loss that is not finite: looked at every step on the CPU, now and
        then on a GPU, where looking costs a synchronisation."""
        due = now or self.device.type == "cpu" or self.updates % 50 == 0
        if due and not bool(torch.isfinite(self.loss.detach())):
            raise RunError(
                f"the loss became {float(self.loss.detach())} after {self.samples_seen} samples of"
                " the stream: a smaller learning rate may help"
            )

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Everything of its own needed to go on after the last finished experience, as tensors and
        plain values.

        Plugins keep their state themselves.
        """
        return {
            "model": self.model.learned_state(),
            "optimizer": self.optimizer.state_dict(),
            "buffer": self.buffer.state_dict(),
            "tasks_started": self.tasks_started,
            "samples_of_task": self._position.samples,
            "next_period": self._next_period,
            "shuffler": self.shuffler.get_state(),
            "samples_seen": self.samples_seen,
            "updates": self.updates,
            "experiences": self.clock.train_exp_counter,
        }

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`.

        Args:
            state: from a strategy of the same construction.
            experiences: the experiences trained on before, in order; needed with a replay buffer.
        """
        self.replay.restore(state, [(e, classes_of(e, self.model.n_classes)) for e in experiences])
        self.model.load_learned_state(state["model"])
        self.make_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffler.set_state(state["shuffler"])
        self.samples_seen = int(state["samples_seen"])
        self.updates = int(state["updates"])
        self.tasks_started = int(state["tasks_started"])
        self._next_period = int(state["next_period"])
        self._position.samples = int(state["samples_of_task"])
        self.clock.train_exp_counter = int(state["experiences"])

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)

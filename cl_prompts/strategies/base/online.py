"""What all strategies share: a training loop on Avalanche's template, and nothing about any one
method."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.core import BasePlugin
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError, unknown
from cl_prompts.losses.multi_label import LOSS_NORMS, multi_label_loss
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.heads import FINITE_MASK
from cl_prompts.strategies.base.experience import TaskPosition, whole_of
from cl_prompts.strategies.base.labels import check_labels, classes_of
from cl_prompts.strategies.base.loaders import RepeatedBatches
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.plugins.multi_label_metrics import MultiLabelMetrics, refuse_accuracy
from cl_prompts.training.buffers import ClassBalancedBuffer, ReservoirBuffer
from cl_prompts.training.schedules import check_schedule, learning_rate_factor

CLASS_MASKS = ("current", "seen")


class OnlineStrategy(SupervisedTemplate):
    """Base of the strategies: one pass over a stream, several updates a batch, classes discovered
    on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as everywhere. It never uses an experience's id or a task label for
    learning. Differences from Avalanche's own templates:

    * experiences that say ``ordered`` (all online streams of this package) are trained in their
      order, not shuffled;
    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples,
      whatever plugins add;
    * classes are opened from the labels of the incoming batch, before it is trained on;
    * only parameters that require a gradient enter the optimizer, and its groups stay as they were
      given;
    * task boundaries count where they are announced (``experience.boundaries``; see
      ``boundaries``).

    With a multi-label model the loss is binary cross-entropy over the classes annotated in the
    experience (``classes_in_this_experience``), since a zero elsewhere says nothing.

    Args:
        model: a :class:`~cl_prompts.models.base.ContinualModel`.
        optimizer: over the model's trainable parameters; by default Adam with ``lr``.
        lr: learning rate of the default optimizer.
        train_mb_size: stream samples per batch.
        eval_mb_size: test images per batch.
        train_epochs: passes over each experience; 1 is the online protocol.
        online_iter: updates per stream batch, each with its own augmentation and memory batch.
        buffer_size: samples in a replay reservoir, 0 for none.
        buffer_batch_size: memory samples that join each stream batch, half of ``train_mb_size`` by
            default.
        boundaries: whether the start of an experience is a task boundary that the method may use:
            True, False, or None for what the experience announces (incremental scenarios do, blurry
            and online streams do not).
        period: where no boundary is announced, what a method does at the end of a task (if it does
            anything) happens after every so many stream samples; None for never.
        schedule: of the learning rate over the epochs of one experience: ``"constant"``,
            ``"cosine"`` (to zero, per epoch) or ``"coda"`` (CODA-Prompt's, to 1.6 %).
        new_optimizer: start each announced task with fresh optimizer state.
        clip_norm: bound on the gradient's global norm; None for none.
        class_mask: classes that compete in the cross-entropy of a single-label task whose boundary
            is announced: ``"seen"``, all classes met so far, or ``"current"``, those of the task (a
                replayed sample: those of its own task), so that
            head rows of other classes get no gradient. Without announced boundaries it is always
            the former. A sample whose class is not among its task's, which only a plugin can bring,
            is scored over the classes seen.
        loss_norm: of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"``
            (see :func:`~cl_prompts.losses.multi_label.multi_label_loss`).
        device: ``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ...
        plugins: Avalanche plugins; the list is copied.
        evaluator: Avalanche's evaluator; None for silence.
        eval_every: as in Avalanche (periodic evaluation; -1 for none). For evaluation by sample
            count see :class:`~cl_prompts.strategies.AnytimeEvaluation`.
        seed: of the private generators (memory, shuffling).

    Raises:
        InputError: a number out of range, or a word that is not known or not defined for the
            method.
    """

    model: ContinualModel
    masks_classes = True
    """Whether the method's loss knows ``class_mask="current"``."""
    whole_stream = False
    """Whether ``train`` wants all experiences at once."""
    remember_first = False
    """Whether stream samples enter the memory before they are trained on, instead of after."""

    def __init__(
        self,
        *,
        model: ContinualModel,
        optimizer: Optimizer | None = None,
        lr: float = 5e-3,
        train_mb_size: int = 64,
        eval_mb_size: int = 128,
        train_epochs: int = 1,
        online_iter: int = 3,
        buffer_size: int = 0,
        buffer_batch_size: int | None = None,
        boundaries: bool | None = None,
        period: int | None = None,
        schedule: str = "constant",
        new_optimizer: bool = False,
        clip_norm: float | None = None,
        class_mask: str = "seen",
        loss_norm: str = "current",
        device: str | torch.device = "auto",
        plugins: Sequence[BasePlugin] | None = None,
        evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin] | None = default_evaluator,
        eval_every: int = -1,
        seed: int = 0,
    ) -> None:
        _check(
            train_mb_size=train_mb_size,
            eval_mb_size=eval_mb_size,
            train_epochs=train_epochs,
            online_iter=online_iter,
        )
        for name, number in (("lr", lr), ("clip_norm", clip_norm)):
            if number is not None and number <= 0:
                raise InputError(f"{name} is {number}: it must be positive")
        _check(
            **{
                k: v
                for k, v in (("buffer_batch_size", buffer_batch_size), ("period", period))
                if v is not None
            }
        )
        check_schedule(schedule)
        for name, value, known in (
            ("class_mask", class_mask, CLASS_MASKS),
            ("loss_norm", loss_norm, LOSS_NORMS),
        ):
            if value not in known:
                raise unknown(name, value, known)
        if class_mask == "current" and not self.masks_classes:
            raise InputError(
                f"the loss of {type(self).__name__} is over all classes seen: leave out"
                " class_mask=current"
            )
        if model.multi_label and evaluator is default_evaluator:
            evaluator = _multi_label_evaluator
        model.to(pick_device(device))
        super().__init__(
            model=model,
            optimizer=optimizer or self.default_optimizer(model, lr),
            train_mb_size=train_mb_size,
            eval_mb_size=eval_mb_size,
            train_epochs=train_epochs,
            device=pick_device(device),
            plugins=list(plugins or ()),
            evaluator=evaluator if evaluator is not None else _silent_evaluator,
            eval_every=eval_every,
        )
        if model.multi_label:
            refuse_accuracy(self.evaluator)
        self.online_iter, self.seed = online_iter, seed
        self.boundaries, self.schedule, self.new_optimizer = boundaries, schedule, new_optimizer
        self.clip_norm, self.class_mask, self.loss_norm = clip_norm, class_mask, loss_norm
        self.replay = Replay(
            self.make_buffer(buffer_size, seed), buffer_batch_size or max(1, train_mb_size // 2)
        )
        self.replayed = torch.zeros(0, dtype=torch.int64)
        """Memory slots of the replayed samples at the end of the current mini-batch."""
        self.period, self._next_period = period, period or 0
        self.tasks_started = 0
        """Announced tasks begun so far."""
        self.annotated = torch.ones(model.n_classes, dtype=torch.bool, device=self.device)
        """Classes that the current experience labels, (classes,)."""
        self.columns = self.annotated
        """The same for the current mini-batch: (classes,), or (batch, classes) once replayed
        samples are among it."""
        self.samples_seen = 0
        """Stream samples trained on so far, each counted once (per epoch)."""
        self.updates = 0
        """Optimizer steps so far."""
        self.output: Output | None = None
        """The model's full output on the current mini-batch."""
        self._shuffler = torch.Generator().manual_seed(seed)
        self._position = TaskPosition()

    # ------------------------------------------------------------------ what a method overrides

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Adam without weight decay on everything trainable, as published for MVP and its
        baselines."""
        # As a group: it may be empty, where parameters come with the first task or there are none.
        return torch.optim.Adam(
            [{"params": [p for p in model.parameters() if p.requires_grad]}], lr=lr
        )

    def training_loss(self) -> Tensor:
        """Loss of the current mini-batch from ``self.output`` and ``self.mb_y``.

        Cross-entropy over the classes that compete (``class_mask``); multi-label: binary, over the
        annotated classes.
        """
        return self.label_loss()

    def label_loss(self, rows: slice = slice(None)) -> Tensor:
        """The same of some rows of the mini-batch."""
        assert self.output is not None
        logits, labels = self.output.logits[rows], self.mb_y[rows]
        columns = self.columns if self.columns.dim() == 1 else self.columns[rows]
        if self.model.multi_label:
            return multi_label_loss(logits, labels, columns, norm=self.loss_norm)
        if self.class_mask == "current" and self.announced:
            competing = columns.expand_as(logits)
            foreign = ~competing.gather(1, labels[:, None])
            logits = logits.masked_fill(~(competing | foreign), float("-inf"))
        return F.cross_entropy(logits, labels)

    def after_step(self) -> None:
        """Called after each optimizer step, for a method's statistics."""

    def start_task(self, classes: Tensor) -> None:
        """Called at each announced task boundary, before its first batch, with the task's classes
        (classes,) boolean."""

    def finish_task(self) -> None:
        """Called behind the last sample of an announced task, or every ``period`` samples where
        none is announced."""

    def make_buffer(self, size: int, seed: int) -> ReservoirBuffer | ClassBalancedBuffer:
        """The replay memory, of references of width 2."""
        return ReservoirBuffer(size, width=2, seed=seed)

    def remember(self, rows: Tensor, labels: Tensor) -> None:
        """Offer the batch's stream samples, rows of the current experience, to the memory; called
        once for each sample.

        They were just trained on, or with ``remember_first`` are about to be.
        """
        self.replay.add(rows, labels)

    def meet(self, labels: Tensor) -> None:
        """Called with the labels of each stream batch before it is trained on; opens its
        classes."""
        self.model.see(labels)

    # ------------------------------------------------------------------ Avalanche's hooks

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on one experience or several in turn; ``shuffle`` defaults to False for ordered
        streams.

        ``num_workers``, ``pin_memory`` and the like go to the data loader as in Avalanche;
        ``drop_last`` does not exist, since every sample of a stream is delivered.
        """
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        for stream in eval_streams or ():
            _refuse_overlap(list(stream) if isinstance(stream, Iterable) else [stream])
        kwargs.setdefault(
            "shuffle", not all(getattr(whole_of(e), "ordered", False) for e in experiences)
        )
        return super().train(experiences, eval_streams, **kwargs)

    def forward(self) -> Tensor:
        """Logits with a large finite negative for masked classes, so that any loss or metric stays
        finite."""
        self.output = self.model.run(self.mb_x)
        logits = self.output.logits
        return (
            logits
            if self.model.multi_label
            else logits.masked_fill(logits == float("-inf"), FINITE_MASK)
        )

    def criterion(self) -> Tensor:
        """The method's loss in training; in evaluation plain (binary) cross-entropy over the seen
        classes."""
        if self.is_training:
            return self.training_loss()
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)

    def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
        """Avalanche's evaluation, refused over several cumulative test sets, which share their
        images."""
        experiences = list(experiences) if isinstance(experiences, Iterable) else [experiences]
        _refuse_overlap(experiences)
        return super().eval(experiences, **kwargs)

    def make_train_dataloader(
        self,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """A loader in stream order (or shuffled by the private generator) that yields each batch
        ``online_iter`` times."""
        accepted = {"persistent_workers", "prefetch_factor", "timeout", "multiprocessing_context"}
        if wrong := sorted(set(kwargs) - accepted):
            raise unknown(
                "loader argument", wrong[0], {"num_workers", "shuffle", "pin_memory", *accepted}
            )
        data = self.adapted_dataset
        order = self._shuffler if shuffle else None
        self.dataloader = DataLoader(
            data,
            batch_sampler=RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            collate_fn=getattr(data, "collate_fn", None),
            # A generator of its own keeps the global one out of it; worker processes take their
            # seeds from it.
            generator=torch.Generator().manual_seed(self.seed + 1_000_003 * self.samples_seen),
            **kwargs,
        )

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters (in group 0) and drop frozen ones; groups and state are
        otherwise kept."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        wanted = {id(p) for p in trainable}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) in wanted]
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        self.optimizer.param_groups[0]["params"] += [p for p in trainable if id(p) not in known]
        kept = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        for parameter in [
            p for p in self.optimizer.state if reset_optimizer_state or id(p) not in kept
        ]:
            del self.optimizer.state[parameter]
        self.optimized_param_id = dict(self.model.named_parameters())

    def _before_training_exp(self, **kwargs: Any) -> None:
        check_labels(self.experience, self.model, type(self).__name__)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        self.columns = self.annotated
        self._position.enter(self.experience)
        if self.announced and self._position.first:
            if self.new_optimizer:
                self.optimizer.state = defaultdict(dict)
            self.tasks_started += 1
            self.start_task(self.annotated)
        super()._before_training_exp(**kwargs)
        self.replay.enter(self.experience, self.annotated.cpu())
        if self.replay.buffer.size and not isinstance(self._batches, RepeatedBatches):
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
        """The replay memory; empty with ``buffer_size=0``."""
        return self.replay.buffer

    @property
    def _batches(self) -> Any:
        """The sampler of our own loader; a plugin may have brought another loader."""
        return getattr(self.dataloader, "batch_sampler", None)

    def training_epoch(self, **kwargs: Any) -> None:
        """Each stream batch: open its classes, make ``online_iter`` updates, then count it and
        offer it to the memory."""
        loaded = self._batches.repeats if isinstance(self._batches, RepeatedBatches) else 1
        self._set_learning_rate()
        n, position = len(self.experience.dataset), 0
        for i, minibatch in enumerate(self.dataloader):
            if self._stop_training:
                break
            self.mbatch = minibatch
            self._unpack_minibatch()
            stream, repetition = self.mbatch, i % loaded
            size = min(self.train_mb_size, n - position)
            if repetition == 0:
                self.meet(self.mb_y)
                if self.remember_first:
                    self._offer(position, size)
            for inner in range(self.online_iter // loaded):
                last = repetition + inner + 1 == self.online_iter
                self.mbatch = self._with_buffer(stream)
                self._update(position, size if last else 0, **kwargs)
            position += size if repetition == loaded - 1 else 0
        self._check_loss(now=True)

    def _update(self, position: int, finished: int, **kwargs: Any) -> None:
        """One optimizer step with all of Avalanche's triggers; ``finished`` stream samples are done
        with after it."""
        self._before_training_iteration(**kwargs)
        self.optimizer.zero_grad()
        self.loss = self._make_empty_loss()
        self._before_forward(**kwargs)
        self.mb_output = self.forward()
        self._after_forward(**kwargs)
        self.loss += self.criterion()
        self._before_backward(**kwargs)
        self.backward()
        self._after_backward(**kwargs)
        self.clip_gradients()
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        self.after_step()
        self.updates += 1
        self._check_loss()
        if finished:
            if not self.remember_first:
                self._offer(position, finished)
            self.samples_seen += finished
            if (
                self.period is not None
                and not self.announced
                and self.samples_seen >= self._next_period
            ):
                self._next_period = (self.samples_seen // self.period + 1) * self.period
                self.finish_task()
        self._after_training_iteration(**kwargs)

    # ------------------------------------------------------------------ memory and checks

    def clip_gradients(self) -> None:
        """Bound the gradient's global norm, if ``clip_norm`` says so."""
        if self.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(
                [p for p in self.model.parameters() if p.grad is not None], self.clip_norm
            )

    def _offer(self, position: int, n: int) -> None:
        """Offer the first ``n`` samples of the mini-batch, the stream's, to the memory: in the
        first epoch only."""
        if self.replay.buffer.size and self.clock.train_exp_epochs == 0:
            self.remember(self._batches.order[position : position + n], self.mb_y[:n].cpu())

    def _set_learning_rate(self) -> None:
        """The schedule's rate for this epoch of the experience, on top of each group's own."""
        if self.schedule != "constant":
            factor = learning_rate_factor(
                self.schedule, self.clock.train_exp_epochs, self.train_epochs
            )
            for group in self.optimizer.param_groups:
                group["lr"] = group.setdefault("initial_lr", group["lr"]) * factor

    def _with_buffer(self, stream: list[Tensor]) -> list[Tensor]:
        """The stream batch followed by a fresh memory batch."""
        if len(self.replay) == 0:
            return stream
        extra, annotated, self.replayed = self.replay.draw()
        self.columns = torch.cat(
            [self.annotated.expand(len(stream[0]), -1), annotated.to(self.device)]
        )
        return [torch.cat([a, b.to(self.device)]) for a, b in zip(stream, extra, strict=True)]

    def _check_loss(self, *, now: bool = False) -> None:
        """Every step on the CPU, now and then on a GPU, where looking costs a synchronisation."""
        if (now or self.device.type == "cpu" or self.updates % 50 == 0) and not bool(
            torch.isfinite(self.loss)
        ):
            raise RunError(
                f"the loss became {float(self.loss)} after {self.samples_seen} samples of the"
                " stream: a smaller learning rate may help"
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
            "memory": self.replay.buffer.state_dict(),
            "tasks_started": self.tasks_started,
            "samples_of_task": self._position.samples,
            "next_period": self._next_period,
            "shuffler": self._shuffler.get_state(),
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
            experiences: the experiences trained on before, in order; needed with a replay memory.
        """
        self.replay.restore(state, [(e, classes_of(e, self.model.n_classes)) for e in experiences])
        self.model.load_learned_state(state["model"])
        self.make_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self._shuffler.set_state(state["shuffler"])
        self.samples_seen, self.updates = int(state["samples_seen"]), int(state["updates"])
        self.tasks_started, self._next_period = (
            int(state["tasks_started"]),
            int(state["next_period"]),
        )
        self._position.samples = int(state["samples_of_task"])
        self.clock.train_exp_counter = int(state["experiences"])

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)


def _check(**numbers: int) -> None:
    for name, value in numbers.items():
        if value < 1:
            raise InputError(f"{name} is {value}: it must be at least 1")


def need_backbone(backbone: FrozenViT | None, n_classes: int | None) -> tuple[FrozenViT, int]:
    """Both, or an ``InputError`` that says what to pass."""
    if backbone is None or n_classes is None:
        raise InputError("give either model= or both backbone= and n_classes=")
    return backbone, n_classes


def _refuse_overlap(experiences: Sequence[Any]) -> None:
    if len(experiences) > 1 and any(getattr(e, "overlapping", False) for e in experiences):
        raise InputError(
            f"these {len(experiences)} test sets overlap, since each holds the images of those"
            " before it: evaluate one, such as benchmark.test_stream[t] after task t"
        )


def _multi_label_evaluator() -> EvaluationPlugin:
    """Avalanche's default evaluator, with multi-label scores in the place of accuracy."""
    return EvaluationPlugin(
        loss_metrics(minibatch=False, epoch=True, experience=True, stream=True),
        MultiLabelMetrics(),
        loggers=[InteractiveLogger()],
    )


def _silent_evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin()

"""Construction of a method, and the hooks that its training loop calls.

The loop is :class:`~cl_prompts.strategies.base.online.OnlineStrategy`, the base of every method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.utils import trigger_plugins
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import batch_classes
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.compiled import CompiledDecoding
from cl_prompts.models.feature_cache import BUDGET, FeatureCache
from cl_prompts.strategies.base import growth
from cl_prompts.strategies.base.avalanche import (
    AvalancheEvaluation,
    chosen_evaluator,
    with_own_plugins,
)
from cl_prompts.strategies.base.experience import TaskPosition
from cl_prompts.strategies.base.multi_label_metrics import refuse_accuracy
from cl_prompts.strategies.base.online_settings import OnlineSettings
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.base.settings import Registered
from cl_prompts.strategies.base.state import load_strategy_state, strategy_state
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import Classifier, head_of
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer
from cl_prompts.training.schedules import learning_rate_factor, scale_learning_rates

AnyPlugin = TypeVar("AnyPlugin")


class Method(OnlineSettings, AvalancheEvaluation):
    """Base of :class:`~cl_prompts.strategies.base.online.OnlineStrategy`: construction and hooks.

    Raises:
        InputError: a setting is unknown, out of range, or not defined for the method.
    """

    keeps: ClassVar[str] = ""
    """Memory that replaces a replay buffer; ``buffer_size`` is then refused."""
    own_plugins: ClassVar[tuple[StrategyPlugin, ...]] = ()
    """Plugins that are part of the method."""
    whole_stream: ClassVar[bool] = False
    """Whether ``train`` needs all experiences at once."""
    plain_images: ClassVar[bool] = False
    """Whether a run trains the method on images without augmentation."""
    masks_classes: ClassVar[bool] = True
    """Whether the loss supports ``class_mask="current"``."""
    weighs_alike: ClassVar[bool] = True
    """Whether the cross-entropy weighs all samples of a batch by one."""
    of_optimizer: ClassVar[tuple[str, ...]] = ()
    """Settings of the method's own optimizer, besides ``lr``."""
    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before the update on them, not after it."""

    def __init__(self, **settings: Any) -> None:
        self.assign(settings)
        self.check_settings()
        self.state = Registered(self)
        """State that checkpoints hold besides that of model, optimizer and buffer."""
        self.device = pick_device(self.device)
        self.model = self._given_or_built()
        # Before the optimizer: a plugin may add or replace parts of the model.
        self.plugins = with_own_plugins(self.own_plugins, self.plugins or ())
        trigger_plugins(self, "attach")
        self.model.to(self.device)
        if self.compile:
            self.model.compiled = CompiledDecoding(self.model)
        several = self.model.multi_label
        SupervisedTemplate.__init__(
            self,
            model=self.model,
            optimizer=self.optimizer or self.default_optimizer(self.model, self.lr),
            # For Avalanche's plugins that ask for a loss; ours is training_loss.
            criterion=nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss(),
            train_mb_size=self.train_mb_size,
            eval_mb_size=self.eval_mb_size,
            train_epochs=self.train_epochs,
            device=self.device,
            plugins=self.plugins,
            evaluator=chosen_evaluator(self.evaluator, multi_label=several),
            eval_every=self.eval_every,
        )
        if several:
            refuse_accuracy(self.evaluator)
        self.replay = Replay(
            self.make_buffer(self.buffer_size, self.seed),
            self.buffer_batch_size or max(1, self.train_mb_size // 2),
        )
        self.replay.views = self.views
        self.feature_cache = FeatureCache(BUDGET)
        self._begin()

    def _begin(self) -> None:
        n_classes, device = self.model.n_classes, self.device
        self.annotated = torch.ones(n_classes, dtype=torch.bool, device=device)
        """Classes that the current experience labels, (classes,)."""
        self.announced = self.boundaries is not False
        """Whether the current experience announces its boundaries (task-aware learning)."""
        self.batch: Any = None
        """Mini-batch of the current update; before the first update, a batch of the stream."""
        self.output: Output | None = None
        """Output of the model on ``batch``."""
        self.tasks_started = 0
        """Number of announced tasks started."""
        self.samples_seen = 0
        """Number of stream samples trained on, each counted once per epoch."""
        self.updates = 0
        """Number of optimizer steps."""
        self.single_class_batches = torch.zeros((), dtype=torch.int64, device=device)
        """Updates on a batch of one class, from which ``class_mask="batch"`` learns nothing."""
        self.next_period = self.period or 0
        """Value of ``samples_seen`` at which the current period ends."""
        self.state.add(
            "tasks_started", "samples_seen", "updates", "single_class_batches", "next_period"
        )
        self.shuffler = torch.Generator().manual_seed(self.seed)
        """Generator that shuffles a stream whose order the scenario does not fix."""
        self.task_position = TaskPosition()
        """Position of the current experience in its task."""
        self.between_batches: Callable[[], None] | None = None
        """Callback after each stream batch, which may call ``state_dict``."""
        self.place: dict[str, Any] | None = None
        """Where training resumes inside the next experience: ``samples`` trained on in the epoch,
        and counters of Avalanche's ``clock``; None for its start."""
        self._inside: dict[str, Any] | None = None
        self._epoch_order = self.shuffler.get_state()

    def _given_or_built(self) -> ContinualModel:
        """Return the given model, or build the method's own on the given backbone."""
        model: ContinualModel | None = self.model
        given = [value for value in (self.backbone, self.n_classes) if value is not None]
        if len(given) != (2 if model is None else 0):
            raise InputError("give either model= or both backbone= and n_classes=")
        if model is None:
            assert self.backbone is not None
            assert self.n_classes is not None
            model = self.build_model(self.backbone.with_features(self.features), self.n_classes)
            self.fit_model(model)
        if model.multi_label and "multi_label" not in self.settings():
            raise InputError(f"{type(self).__name__} is defined for one class per image")
        if model.multi_label and self.class_mask == "batch":
            raise InputError("class_mask=batch is defined for one class per image: leave it out")
        return model

    def check_settings(self) -> None:
        """Hook: refuse settings that contradict each other, after words and bounds are checked."""
        kind = type(self).__name__
        for name in self.of_optimizer if self.optimizer is not None else ():
            if self.explicit.get(name) not in (None, 0, "none"):
                raise InputError(
                    f"{name} configures {kind}'s own optimizer: give it or optimizer=, not both"
                )
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(f"{kind} does not support class_mask=current: leave it out")
        if self.keeps and self.buffer_size:
            raise InputError(
                f"{kind} replays no samples but has {self.keeps}: leave out buffer_size"
            )
        if self.class_mask == "batch" and self.train_mb_size < 8:
            warnings.warn(
                f"class_mask=batch with train_mb_size={self.train_mb_size}: small batches often"
                " hold one class, from which nothing is learned",
                stacklevel=3,
            )

    def plugin(self, kind: type[AnyPlugin]) -> AnyPlugin | None:
        """Return the strategy's plugin of a class, or None."""
        return next((plugin for plugin in self.plugins if isinstance(plugin, kind)), None)

    @property
    def buffer(self) -> Any:
        """The replay buffer; empty with ``buffer_size=0``."""
        return self.replay.buffer

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters, each in its group, and drop frozen ones.

        The others keep their optimizer state unless ``reset_optimizer_state``. Groups follow the
        order of the model, since PyTorch saves optimizer state by position.
        """
        self.optimized_param_id = dict(self.model.named_parameters())
        trainable = {p: name for name, p in self.optimized_param_id.items() if p.requires_grad}
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        # Momentum and weight decay would otherwise move parameters that were frozen.
        for group in groups:
            group["params"] = [p for p in group["params"] if p in trainable]
        known = {p for group in groups for p in group["params"]}
        for parameter, name in trainable.items():
            if parameter not in known:
                # A given optimizer may lack the group that the method expects.
                groups[min(self.group_of(name), len(groups) - 1)]["params"].append(parameter)
        order = {parameter: number for number, parameter in enumerate(trainable)}
        for group in groups:
            group["params"].sort(key=order.__getitem__)
        for parameter in list(self.optimizer.state):
            if reset_optimizer_state or parameter not in trainable:
                del self.optimizer.state[parameter]

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Return all state needed to resume, as tensors and plain values.

        Call it after an experience, or in ``between_batches``. Plugins with ``state_dict`` and
        ``load_state_dict`` are included.
        """
        return strategy_state(self, self._inside, self._epoch_order)

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Restore what :meth:`state_dict` returned.

        Args:
            state: of a strategy with the same settings and plugins.
            experiences: experiences trained on, in order, and last the one in which training
                stopped, which is trained next. Only a replay buffer needs them.
        """
        load_strategy_state(self, state, experiences)
        self.state_loaded()

    grow = growth.grow
    """Expand the trained strategy to further ``classes`` (a number or names) and ``tasks``."""

    def save(self, path: str) -> None:
        """Save the learned tensors (prompts, keys, masks, head), without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Load a file that :meth:`save` wrote."""
        self.model.load(path)

    # ------------------------------------------------------------------ hooks: construction

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's model from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model: give model=")

    def fit_model(self, model: ContinualModel) -> None:
        """Apply the settings of all methods to a new model: its head."""
        self.head.fit(model)

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Return Adam without weight decay on all trainable parameters, as published for MVP."""
        # As a group, since the list may be empty until the first task adds parameters.
        return torch.optim.Adam(
            [{"params": [p for p in model.parameters() if p.requires_grad]}], lr
        )

    def group_of(self, name: str) -> int:
        """Return the index of the optimizer group for a parameter of the model."""
        return 0

    def make_buffer(self, size: int, seed: int) -> ReplayBuffer:
        """Return the replay buffer; its entries are references (experience, row), of width 2."""
        return ReservoirBuffer(size, width=2, seed=seed)

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Return whether the model has one entry per announced task; refuse too many tasks."""
        return False

    # ------------------------------------------------------------------ hooks: stream and tasks

    def check_announced(self, *, announced: bool) -> None:
        """Hook, of plugins as well: refuse a stream with or without announced boundaries."""
        trigger_plugins(self, "check_announced", announced=announced)

    def warnings_on(self, tasks: Sequence[np.ndarray], *, announced: bool) -> list[str]:
        """Return warnings for a stream on which some of the method's settings have no effect.

        Args:
            tasks: class of each sample, (n,) per task.
            announced: whether the stream announces task boundaries.
        """
        return []

    def start_task(self, classes: Tensor) -> None:
        """Prepare for an announced task with ``classes``, a (classes,) boolean mask."""

    def finish_task(self) -> None:
        """Finish an announced task, or a period where no boundary is announced; plugins follow."""

    def start_period(self) -> None:
        """Start the next period, where no boundary is announced, after ``end_of_task`` plugins."""

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch before the first update on it."""
        self.model.observe_classes(labels)

    def state_loaded(self) -> None:
        """Update derived attributes after ``load_state_dict``."""

    # ------------------------------------------------------------------ hooks: one update

    def learning_rate_factor(self) -> float:
        """Return the schedule's factor on each group's learning rate in this epoch."""
        return learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)

    def set_learning_rate(self) -> None:
        """Set each group's learning rate for this epoch of the experience."""
        # Constant rates are left to the optimizer and to plugins.
        if self.schedule != "constant":
            scale_learning_rates(self.optimizer, self.learning_rate_factor())

    def make_batch(self, stream: Batch) -> Batch:
        """Append newly drawn replayed samples to a stream batch."""
        return self.replay.join(stream, self.updates)

    def training_output(self, batch: Batch) -> Output:
        """Run the model on a batch; frozen parts of known samples come from the cache."""
        if batch.samples is None:
            return self.model.run(batch.images)
        return self.feature_cache.run(self.model, batch.images, batch.samples)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Return the method's loss on a batch; by default :meth:`label_loss`."""
        return self.label_loss(output.logits, batch)

    def label_loss(self, logits: Tensor, batch: Batch, *, whole: Batch | None = None) -> Tensor:
        """Return the cross-entropy over the competing classes (``class_mask``).

        With several labels per image it is binary, over the annotated classes.

        Args:
            logits: (batch, classes) of the batch's samples.
            batch: a batch, or a part of one.
            whole: the whole batch, if ``batch`` is a part (DER++ replays in two parts).
        """
        if self.model.multi_label:
            return multi_label_loss(logits, batch.labels, batch.annotated, norm=self.loss_norm)
        return F.cross_entropy(self.competing_logits(logits, batch, whole=whole), batch.labels)

    def competing_logits(
        self, logits: Tensor, batch: Batch, *, whole: Batch | None = None
    ) -> Tensor:
        """Return logits with -inf for classes that do not compete; arguments as ``label_loss``."""
        if self.class_mask == "batch":
            competing = self.competing_classes((whole or batch).labels)
            return logits.masked_fill(~competing, float("-inf"))
        if self.class_mask == "current" and self.announced:
            competing = batch.annotated.expand_as(logits)
            # All seen classes compete for a sample of a foreign class: its loss would be infinite.
            foreign = ~competing.gather(1, batch.labels[:, None])
            return logits.masked_fill(~(competing | foreign), float("-inf"))
        # "seen": the model has masked the unseen classes.
        return logits

    def competing_classes(self, labels: Tensor) -> Tensor:
        """Return the (classes,) mask of competing classes: those of ``labels``, or all seen."""
        if self.class_mask == "batch":
            return batch_classes(labels, self.model.n_classes)
        seen: Tensor = self.model.seen
        return seen

    def clip_gradients(self) -> None:
        """Clip the gradient's global norm to ``clip_norm``, if given."""
        if self.clip_norm is not None:
            trained = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update the method's statistics after each optimizer step."""

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer stream samples to the buffer, once each.

        Args:
            rows: (n,) rows of the current experience, the first n samples of the batch.
            batch: the mini-batch.
            output: of the update on it; None with ``remember_first``.
        """
        self.replay.add(rows, batch.labels_on_host(len(rows)))

    def aligned_classifiers(self) -> list[Classifier]:
        """Return the classifiers that :class:`HeadAlignment` trains: the head and others."""
        return [head_of(self.model)]

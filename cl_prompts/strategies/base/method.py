"""What a method is made of: its model, its optimizer, and the hooks that the training loop calls.

The loop itself is :class:`~cl_prompts.strategies.base.online.OnlineStrategy`, which every method
derives from.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from avalanche.benchmarks import CLExperience
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.utils import trigger_plugins
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.compiled import CompiledDecoding, check_release
from cl_prompts.models.feature_cache import BUDGET, FeatureCache
from cl_prompts.strategies.base import growth
from cl_prompts.strategies.base.avalanche import chosen_evaluator, with_own_plugins
from cl_prompts.strategies.base.evaluation import AvalancheEvaluation
from cl_prompts.strategies.base.experience import TaskPosition
from cl_prompts.strategies.base.label_losses import LabelLosses
from cl_prompts.strategies.base.multi_label_metrics import refuse_accuracy
from cl_prompts.strategies.base.online_settings import OnlineSettings
from cl_prompts.strategies.base.optimizer import update_groups
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.base.state import Registered, load_strategy_state, strategy_state
from cl_prompts.strategies.base.stream import Batch
from cl_prompts.strategies.base.task_pass import Classifier, head_of
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer
from cl_prompts.training.schedules import learning_rate_factor, scale_learning_rates

AnyPlugin = TypeVar("AnyPlugin")


class Method(OnlineSettings, LabelLosses, AvalancheEvaluation):
    """Construction and hooks of a method; see
    :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.

    Raises:
        InputError: a setting that is unknown, out of range, or not defined for the method.
    """

    keeps: ClassVar[str] = ""
    """Kept instead of samples, by a method that refuses a replay buffer."""
    own_plugins: ClassVar[tuple[StrategyPlugin, ...]] = ()
    """Plugins that the method is defined with."""
    whole_stream: ClassVar[bool] = False
    """Whether ``train`` needs all experiences at once."""
    plain_images: ClassVar[bool] = False
    """Whether a run gives the method training images without augmentation."""
    masks_classes: ClassVar[bool] = True
    """Whether the method's loss knows ``class_mask="current"``."""
    weighs_alike: ClassVar[bool] = True
    """Whether all samples of a batch have the same weight in the method's cross-entropy, one."""
    of_optimizer: ClassVar[tuple[str, ...]] = ()
    """Settings, beside ``lr``, of the optimizer that the method makes."""
    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before they are trained on, instead of after."""

    def __init__(self, **settings: Any) -> None:
        self.assign(settings)
        self.check_settings()
        self.state = Registered(self)
        """State that is saved beside that of model, optimizer and buffer."""
        self.device = pick_device(self.device)
        self.model = self._given_or_built()
        # Before the optimizer is made: a plugin may replace parts of the model, or add some.
        self.plugins = with_own_plugins(self.own_plugins, self.plugins or ())
        trigger_plugins(self, "attach")
        self.model.to(self.device)
        if self.compile:
            check_release()
            self.model.compiled = CompiledDecoding(self.model)
        several = self.model.multi_label
        SupervisedTemplate.__init__(
            self,
            model=self.model,
            optimizer=self.optimizer or self.default_optimizer(self.model, self.lr),
            # For plugins of Avalanche's that ask for a loss; ours is training_loss.
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
        """Counters and state before the first sample."""
        n_classes, device = self.model.n_classes, self.device
        self.annotated = torch.ones(n_classes, dtype=torch.bool, device=device)
        """Classes that the current experience labels, (classes,)."""
        self.announced = self.boundaries is not False
        """Whether the boundaries of the current experience are announced (task-aware learning)."""
        self.batch: Any = None
        """The mini-batch of the current update; before the first one, a batch of the stream."""
        self.output: Output | None = None
        """Output of the model on it."""
        self.tasks_started = 0
        """Announced tasks begun so far."""
        self.samples_seen = 0
        """Stream samples trained on so far, each counted once (per epoch)."""
        self.updates = 0
        """Optimizer steps so far."""
        self.single_class_batches = torch.zeros((), dtype=torch.int64, device=device)
        """Updates on a batch of one class, which ``class_mask="batch"`` learns nothing from."""
        self.next_period = self.period or 0
        """Stream samples at which the current period ends."""
        self.state.add(
            "tasks_started", "samples_seen", "updates", "single_class_batches", "next_period"
        )
        self.shuffler = torch.Generator().manual_seed(self.seed)
        """Generator that shuffles where the order is not part of the scenario."""
        self.task_position = TaskPosition()
        """Where in its task the current experience lies."""
        self.between_batches: Callable[[], None] | None = None
        """Called after each stream batch, where ``state_dict`` may be taken."""
        self.place: dict[str, Any] | None = None
        """Where training resumes inside the next experience: ``samples`` of the epoch that are
        done, and counters of Avalanche's ``clock``; None for its start."""
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
            # Parts first, and then what settings of all methods change in them.
            model = self.build_model(self.backbone.with_features(self.features), self.n_classes)
            self.fit_model(model)
        if model.multi_label and "multi_label" not in self.settings():
            raise InputError(f"{type(self).__name__} is defined for one class per image")
        if model.multi_label and self.class_mask == "batch":
            raise InputError("class_mask=batch is defined for one class per image: leave it out")
        return model

    def check_settings(self) -> None:
        """Hook: refuse settings that contradict each other; words and bounds are checked before."""
        kind = type(self).__name__
        for name in self.of_optimizer if self.optimizer is not None else ():
            if self.explicit.get(name) not in (None, 0, "none"):
                raise InputError(f"{name} is of {kind}'s own optimizer: give it or optimizer=")
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(
                f"the loss of {kind} is over all classes seen: leave out class_mask=current"
            )
        if self.keeps and self.buffer_size:
            raise InputError(
                f"{kind} keeps {self.keeps} and replays nothing: leave buffer_size at 0"
            )
        if self.class_mask == "batch" and self.train_mb_size < 8:
            warnings.warn(
                f"class_mask=batch with train_mb_size={self.train_mb_size}: a batch of one class"
                " teaches nothing, and small batches often are",
                stacklevel=3,
            )

    def plugin(self, kind: type[AnyPlugin]) -> AnyPlugin | None:
        """The plugin of a class, or None."""
        return next((plugin for plugin in self.plugins if isinstance(plugin, kind)), None)

    @property
    def buffer(self) -> Any:
        """The replay buffer; empty with ``buffer_size=0``."""
        return self.replay.buffer

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters, each in its group, and drop frozen ones."""
        update_groups(self.optimizer, self.model, self.group_of, reset=reset_optimizer_state)
        self.optimized_param_id = dict(self.model.named_parameters())

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """All state needed to resume, as tensors and plain values.

        It is whole after an experience, and inside of one when ``between_batches`` is called. The
        state of plugins with ``state_dict`` and ``load_state_dict`` is part of it.
        """
        return strategy_state(self, self._inside, self._epoch_order)

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`.

        Args:
            state: from a strategy of the same construction, plugins included.
            experiences: the experiences trained on before, in order, and last the one inside of
                which the state was taken, if it was; needed with a replay buffer. That experience
                is to be trained next.
        """
        load_strategy_state(self, state, experiences)
        self.state_loaded()

    grow = growth.grow
    """Make room for ``classes`` that come later, a number or names, and for ``tasks``, between two
    experiences."""

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)

    # ------------------------------------------------------------------ hooks: construction

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's network from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model: give model=")

    def fit_model(self, model: ContinualModel) -> None:
        """Give a model that was just built what settings ask for: its head."""
        self.head.fit(model)

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Adam without weight decay on everything trainable, as published for MVP and its
        baselines."""
        # As a group: it may be empty, where parameters come with the first task or there are none.
        return torch.optim.Adam(
            [{"params": [p for p in model.parameters() if p.requires_grad]}], lr
        )

    def group_of(self, name: str) -> int:
        """Number of the optimizer's group that a parameter of the model belongs to, by its name."""
        return 0

    def make_buffer(self, size: int, seed: int) -> ReplayBuffer:
        """Make the replay buffer; its entries are references (experience, row), of width 2."""
        return ReservoirBuffer(size, width=2, seed=seed)

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Whether each announced task has an entry of its own in the model, so that room for
        ``n_tasks`` needs as many; refuse more than there can be."""
        return False

    # ------------------------------------------------------------------ hooks: stream and tasks

    def check_announced(self, *, announced: bool) -> None:
        """Refuse a stream that announces the boundaries of its tasks, or one that announces none;
        plugins may have the same. A run asks before it begins."""
        trigger_plugins(self, "check_announced", announced=announced)

    def remarks_on(self, tasks: Sequence[np.ndarray], *, announced: bool) -> list[str]:
        """Sentences on what the method leaves undone on a stream, for its user: tasks are given by
        the classes of their samples, (n,) each."""
        return []

    def start_task(self, classes: Tensor) -> None:
        """Prepare for an announced task with these classes (classes,) boolean, before its first
        batch."""

    def finish_task(self) -> None:
        """Finish a task: called after the last sample of an announced task, or every ``period``
        samples where none is announced; plugins follow."""

    def start_period(self) -> None:
        """Begin the next period, where no boundary is announced, once plugins have finished the
        last one."""

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch before it is trained on."""
        self.model.observe_classes(labels)

    def state_loaded(self) -> None:
        """Bring what is derived from the state up to it, once ``load_state_dict`` is done."""

    # ------------------------------------------------------------------ hooks: one update

    def learning_rate_factor(self) -> float:
        """Factor of the schedule on each group's own learning rate in this epoch."""
        return learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)

    def set_learning_rate(self) -> None:
        """Set each group's learning rate for this epoch of the experience."""
        # Where rates are constant, they are left to the optimizer and to plugins.
        if self.schedule != "constant":
            scale_learning_rates(self.optimizer, self.learning_rate_factor())

    def make_batch(self, stream: Batch) -> Batch:
        """Join a view of a stream batch with newly drawn replayed samples."""
        return self.replay.join(stream, self.updates) if self.buffer_size else stream

    def training_output(self, batch: Batch) -> Output:
        """Run the model on a batch."""
        return self.feature_cache.run(self.model, batch.images, batch.samples)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Loss of the method on a batch: by default :meth:`label_loss`."""
        return self.label_loss(output.logits, batch)

    def clip_gradients(self) -> None:
        """Bound the gradient's global norm by ``clip_norm``, if given."""
        if self.clip_norm is not None:
            trained = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update a method's statistics, after each optimizer step."""

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer rows (n,) of the current experience, the first n samples of the batch, to the
        buffer; once for each sample, after the update that ``output`` is of, unless
        ``remember_first``."""
        self.replay.add(rows, batch.labels_on_host(len(rows)))

    def aligned_classifiers(self) -> list[Classifier]:
        """Classifiers that the plugin for head alignment trains: the head, and further ones of the
        method."""
        return [head_of(self.model)]

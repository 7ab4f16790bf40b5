"""Base of all strategies: settings, construction and hooks.

The training loop, which calls the hooks, is :class:`~cl_prompts.strategies.base.loop.OnlineLoop`.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, TypeVar

import torch
from avalanche.benchmarks import CLExperience
from avalanche.core import BasePlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.utils import trigger_plugins
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.multi_label import LossNorm
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.feature_cache import BUDGET, FeatureCache
from cl_prompts.state import Registered, State
from cl_prompts.strategies.base import construction, growth
from cl_prompts.strategies.base import head as heads
from cl_prompts.strategies.base.experience import mark_of
from cl_prompts.strategies.base.head import Classifier, Head, head_of
from cl_prompts.strategies.base.loop import OnlineLoop
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.base.settings import Settings
from cl_prompts.strategies.base.state import load_strategy_state, strategy_state
from cl_prompts.strategies.base.stream import Batch, RepeatedBatches, keyed_loader
from cl_prompts.strategies.evaluation.evaluator import EvalPass
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer
from cl_prompts.training.rates import Schedule, learning_rate_factor, scale_learning_rates

Plugin = TypeVar("Plugin")


class OnlineStrategy(Settings, SupervisedTemplate):
    """Base of the strategies: one pass over a stream, with several updates per batch.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as usual. Differences from Avalanche's templates: experiences with
    ``ordered=True`` are trained in their order, no sample is dropped, task labels are not read, and
    only trainable parameters enter the optimizer.

    A method declares its settings, builds its model in :meth:`build_model`, and overrides hooks.
    Plugins (:class:`~cl_prompts.strategies.base.plugin.StrategyPlugin`) are its options.

    Attributes:
        annotated: (classes,) mask of the classes that the current experience labels.
        announced: whether it announces its boundaries (task-aware learning).
        batch, output: mini-batch of the update (at first a batch of the stream), and output on it.
        tasks_started, updates: numbers of announced tasks started, and of optimizer steps.
        samples_seen: number of stream samples trained on, each counted once per epoch.
        between_batches: callback after each stream batch, which may call ``state_dict``.
        state: names of the attributes that checkpoints hold, besides model, optimizer and buffer.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.models import PromptedViT
        >>> class Probe(OnlineStrategy):
        ...     def build_model(self, backbone, n_classes):
        ...         return PromptedViT(backbone, n_classes)
        >>> probe = Probe(backbone=create_backbone(), n_classes=10, lr=1e-3, evaluator=None)
        >>> probe.optimizer.param_groups[0]["lr"]
        0.001
    """

    backbone: FrozenViT | None = None
    """Frozen ViT for RGB images in [0, 1]."""
    n_classes: Count | None = None
    """Number of classes: columns of the head."""
    multi_label: bool = False
    """Whether images may have several classes."""
    lr: Positive = 5e-3
    """Learning rate of the optimizer."""
    train_mb_size: Count = 64
    """Stream samples per batch."""
    eval_mb_size: Count = 128
    """Test images per batch."""
    train_epochs: Count = 1
    """Epochs of each experience; 1 is the online protocol."""
    online_iter: Count = 3
    """Updates per stream batch, each with its own augmentation and buffer samples."""
    one_view: bool = False
    """Augment each sample once and for all, so that frozen features can be cached."""
    buffer_size: Size = 0
    """Samples in the replay buffer; 0 for none."""
    buffer_batch_size: Count | None = None
    """Replayed samples per update; None for half of ``train_mb_size``."""
    boundaries: bool | None = None
    """Whether the method may use the start of an experience as a task boundary: True, False, or
    None for what the experience announces (incremental scenarios do, blurry streams do not)."""
    period: Count | None = None
    """Stream samples between two task ends where no boundary is announced; None for never."""
    class_mask: ClassMask = "seen"
    """Classes that compete in the single-label cross-entropy; head rows of the others get no
    gradient. ``"seen"``: all classes seen so far. ``"current"``: those of the announced task, or
    of a replayed sample's own task; all seen classes if no boundary is announced. ``"batch"``:
    those in the mini-batch, replayed samples included. Tests are over the seen classes."""
    head: Head = Head()
    """Head over all classes, and its input; the method supplies the settings that are not given."""
    features: str = "own"
    """Features of the (prompted) forward pass: ``"own"``, what the ViT itself reads of its last
    block (class token, mean patch token or attention pool); ``"token"``, ``"avg"`` or ``"pool"``,
    one of these by name; ``"blocks:K"``, the own features of the last K blocks concatenated, each
    after the final norms (``half`` for half of all blocks). ``"blocks:K+patches"`` adds their mean
    patch tokens, ``"raw_blocks:K"`` omits the norms."""
    schedule: Schedule = "constant"
    """Schedule of the learning rate over the epochs of an experience: ``"constant"``, ``"cosine"``
    (to zero) or ``"coda"`` (CODA-Prompt's, to 1.6 %)."""
    new_optimizer: bool = False
    """Reset the optimizer state at the start of each announced task."""
    clip_norm: Positive | None = None
    """Maximum global norm of the gradient; None for no clipping."""
    loss_norm: LossNorm = "current"
    """Normalisation of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"``
    (see :func:`~cl_prompts.losses.multi_label.multi_label_loss`)."""
    device: Any = "auto"
    """``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ..."""
    plugins: Sequence[BasePlugin] = ()
    """Plugins of this package or of Avalanche. One replaces the method's own of its class, whose
    settings are its defaults."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for no metrics and loggers."""
    eval_every: int = -1
    """Epochs between two evaluations by Avalanche; -1 for none."""
    seed: Size = 0
    """Seed of the private generators (buffer, shuffling)."""

    keeps: ClassVar[str] = ""
    """Memory that replaces a replay buffer; ``buffer_size`` is then refused."""
    own_plugins: ClassVar[tuple[Settings, ...]] = ()
    """Plugins that are part of the method."""
    whole_stream: ClassVar[bool] = False
    """Whether ``train`` needs all experiences at once."""
    plain_images: ClassVar[bool] = False
    """Whether a run trains the method on images without augmentation."""
    masks_classes: ClassVar[bool] = True
    """Whether the loss supports ``class_mask="current"``."""
    weighs_alike: ClassVar[bool] = True
    """Whether the cross-entropy weighs all samples of a batch by one."""
    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before the update on them, not after it."""

    def __init__(self, *unnamed: object, **settings: object) -> None:
        construction.check_arguments(type(self).__name__, unnamed, settings)
        self.assign(settings)
        self.check_settings()
        self.state = Registered(self)
        self.device = pick_device(self.device)
        self.model: Any = construction.built_model(self)
        self.budget: Any = None  # a Budget among the plugins
        # Before the optimizer: a plugin may add or replace parts of the model.
        self.plugins = construction.with_own_plugins(self.own_plugins, self.plugins)
        trigger_plugins(self, "attach")
        self.model.to(self.device)
        several = self.model.multi_label
        SupervisedTemplate.__init__(
            self,
            **self.values_of("device", "plugins", "eval_every"),
            **self.values_of("train_mb_size", "eval_mb_size", "train_epochs"),
            model=self.model,
            optimizer=self.default_optimizer(self.model, self.lr),
            # For Avalanche's plugins that ask for a loss; ours is training_loss.
            criterion=nn.BCEWithLogitsLoss() if several else nn.CrossEntropyLoss(),
            evaluator=construction.chosen_evaluator(self.evaluator, multi_label=several),
        )
        self.buffer = self.make_buffer(self.buffer_size, self.seed)
        replayed = self.buffer_batch_size or max(1, self.train_mb_size // 2)
        self.replay = Replay(self.buffer, replayed, one_view=self.one_view)
        self.feature_cache = FeatureCache(BUDGET)
        self.shuffler = torch.Generator().manual_seed(self.seed)
        self.loop = OnlineLoop(self)
        self.between_batches: Callable[[], None] | None = None
        self.annotated = torch.ones(self.model.n_classes, dtype=torch.bool, device=self.device)
        self.announced = self.boundaries is not False
        self.batch: Batch = None  # type: ignore[assignment]
        self.output: Output = None  # type: ignore[assignment]
        self.loss: Tensor
        self.tasks_started = self.samples_seen = self.updates = 0
        self.next_period = self.period or 0  # in samples_seen, where the current period ends
        self.state.add("tasks_started", "samples_seen", "updates", "next_period")

    # ------------------------------------------------------------------ Avalanche's methods

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[CLExperience] | None = None,
        **kwargs: object,
    ) -> dict[str, object]:
        """Train on one experience or several; ordered streams are not shuffled by default."""
        if not isinstance(experiences, CLExperience | Iterable):
            raise InputError("train needs experiences: give benchmark.train_stream")
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        kwargs.setdefault("shuffle", not any(mark_of(e, "ordered", False) for e in experiences))
        return super().train(experiences, eval_streams, **kwargs)

    def _before_training_exp(self, **kwargs: object) -> None:
        self.loop.enter()
        super()._before_training_exp(**kwargs)

    def _train_exp(self, experience: CLExperience, eval_streams: object, **kwargs: object) -> None:
        self.loop.train(**kwargs)

    def training_epoch(self, **kwargs: object) -> None:
        """Train on the stream of the experience."""
        self.loop.epoch(**kwargs)

    def stop_training(self) -> None:
        """Stop the training on the experience after the update."""
        self.loop.stopped = True

    def _after_training_exp(self, **kwargs: object) -> None:
        self.loop.leave()  # first, so that plugins see the finished task
        # Plugins of Avalanche compute with the logits (MAS squares them).
        self.model.finite_forward = True
        super()._after_training_exp(**kwargs)
        self.model.finite_forward = False

    def _train_cleanup(self) -> None:
        super()._train_cleanup()
        self.replay.close()
        self.batch = self.output = None  # type: ignore[assignment]

    def optimizer_step(self) -> None:
        """Make a step, and invalidate what is cached for the old parameters."""
        super().optimizer_step()
        # Caches compare version counters, which torch's fused optimizers do not raise.
        stepped = (p for group in self.optimizer.param_groups for p in group["params"])
        torch.autograd.graph.increment_version([p for p in stepped if p.grad is not None])

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: object) -> None:
        """Register new trainable parameters, each in its group, and drop frozen ones."""
        known = self.optimized_param_id = dict(self.model.named_parameters())
        growth.regroup(self.optimizer, known, self.group_of, reset=reset_optimizer_state)

    def make_train_dataloader(
        self, num_workers: int = 0, shuffle: bool = True, **kwargs: Any
    ) -> None:
        """Make a loader that yields each batch ``online_iter`` times, each in other views."""
        self.replay.workers = num_workers
        data, order = self.adapted_dataset, self.shuffler if shuffle else None
        batches = RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order)
        kwargs.setdefault("pin_memory", self.device.type == "cuda")
        self.dataloader = keyed_loader(data, batches, num_workers=num_workers, **kwargs)

    def make_eval_dataloader(self, num_workers: int = 0, **kwargs: object) -> None:
        """Make the loader of test images, without augmentation."""
        self.tested = EvalPass(self.experience, self.model)
        self.dataloader = self.tested.loader(self.adapted_dataset, self.eval_mb_size, num_workers)

    def forward(self) -> Tensor:
        """Return logits in evaluation, with a large finite negative for masked classes."""
        return self.tested.logits(self.mb_x, self.mb_y)

    def criterion(self) -> Tensor:
        """Return the evaluation loss: plain (binary) cross-entropy over the seen classes."""
        return self.tested.loss(self.mb_output, self.mb_y)

    def plugin(self, kind: type[Plugin]) -> Plugin | None:
        """Return the strategy's plugin of a class, or None."""
        return next((plugin for plugin in self.plugins if isinstance(plugin, kind)), None)

    def state_dict(self) -> State:
        """Return all state needed to resume, after an experience or in ``between_batches``."""
        return strategy_state(self)

    def load_state_dict(self, state: State, experiences: Sequence[CLExperience] = ()) -> None:
        """Restore what :meth:`state_dict` of a strategy with the same settings returned.

        A replay buffer needs the ``experiences`` trained on, in order, and last the one in which
        training stopped, which is trained next.
        """
        load_strategy_state(self, state, experiences)
        self.state_loaded()

    grow = growth.grow
    label_loss = heads.label_loss
    competing_logits = heads.competing_logits
    competing_classes = heads.competing_classes

    # ------------------------------------------------------------------ hooks

    def check_settings(self) -> None:
        """Refuse settings that contradict each other, after words and bounds are checked."""
        kind = type(self).__name__
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(f"{kind} does not support class_mask=current: leave it out")
        if self.keeps and self.buffer_size:
            raise InputError(
                f"{kind} replays no samples but has {self.keeps}: leave out buffer_size"
            )

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's model from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model")

    def fit_model(self, model: ContinualModel) -> None:
        """Apply the settings of all methods to a new model: its head."""
        self.head.fit(model)

    def default_optimizer(self, model: ContinualModel, lr: float) -> Optimizer:
        """Return Adam without weight decay on all trainable parameters, as published for MVP."""
        # As a group, since a list of parameters must not be empty.
        trained = {"params": [p for p in model.parameters() if p.requires_grad]}
        return torch.optim.Adam([trained], lr)

    def group_of(self, name: str) -> int:
        """Return the index of the optimizer group for a parameter of the model."""
        return 0

    def make_buffer(self, size: int, seed: int) -> ReplayBuffer:
        """Return the replay buffer; its entries are references (experience, row), of width 2."""
        return ReservoirBuffer(size, width=2, seed=seed)

    def has_entry_a_task(self, n_tasks: int) -> bool:
        """Return whether each announced task has its own entry; refuse too many tasks."""
        return "n_tasks" in self.settings() and getattr(self, "pool_size", None) is None

    def check_announced(self, *, announced: bool) -> None:
        """Refuse a stream with or without announced boundaries; plugins have the same hook."""
        trigger_plugins(self, "check_announced", announced=announced)

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

    def clip_gradients(self) -> None:
        """Clip the gradient's global norm to ``clip_norm``, if given."""
        if self.clip_norm is not None:
            trained = [p for p in self.model.parameters() if p.grad is not None]
            torch.nn.utils.clip_grad_norm_(trained, self.clip_norm)

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update the method's statistics after each optimizer step."""

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer the first samples of a batch, rows (n,) of the experience, to the buffer."""
        self.replay.add(rows, batch.labels_on_host(len(rows)))

    def aligned_classifiers(self) -> list[Classifier]:
        """Return the classifiers that :class:`HeadAlignment` trains: the head and others."""
        return [head_of(self.model)]

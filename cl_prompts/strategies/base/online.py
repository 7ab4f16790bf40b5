"""Base of all strategies: the online protocol as an Avalanche strategy."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from avalanche.training.utils import trigger_plugins
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.pixels import check_batch, check_kind, image_check
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.datasets.items import HeldOutItems
from cl_prompts.errors import InputError
from cl_prompts.losses.classification import ClassMask
from cl_prompts.losses.multi_label import LossNorm, multi_label_loss
from cl_prompts.metrics.evaluator import check_finite
from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.models.compiled import CompiledDecoding, check_release
from cl_prompts.models.heads import finite
from cl_prompts.models.surroundings import check_surroundings, check_tensors, check_torch
from cl_prompts.strategies.base import growth, protocol
from cl_prompts.strategies.base.avalanche import (
    check_foreign_loader,
    check_model,
    check_optimizer,
    chosen_evaluator,
    claim,
    no_criterion,
    refuse_foreign_arguments,
    refuse_overlap,
    refuse_second_schedule,
    refuse_unfit,
    with_own_plugins,
)
from cl_prompts.strategies.base.experience import (
    TaskPosition,
    announces_boundaries,
    check_class_ids,
    check_labels,
    check_order,
    check_same_samples,
    classes_of,
    highest_class,
    mark_of,
)
from cl_prompts.strategies.base.faults import check_weights
from cl_prompts.strategies.base.feature_cache import FeatureCache
from cl_prompts.strategies.base.head import Head
from cl_prompts.strategies.base.multi_label_metrics import refuse_accuracy
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.replay import Replay, among
from cl_prompts.strategies.base.settings import Declared, name_taken
from cl_prompts.strategies.base.state import (
    Registered,
    learned_parts,
    load_learned_parts,
    load_strategy_state,
    strategy_state,
)
from cl_prompts.strategies.base.stream import (
    Batch,
    check_recurring,
    checked_collate,
    own_sampler,
)
from cl_prompts.strategies.base.task_pass import Classifier, head_of
from cl_prompts.training.buffers import ReplayBuffer, ReservoirBuffer
from cl_prompts.training.schedules import Schedule, learning_rate_factor, scale_learning_rates

NOTHING_TO_TRAIN = (
    "nothing that the method trains requires a gradient: leave requires_grad of the model as it was"
    " when it was built"
)
AnyPlugin = TypeVar("AnyPlugin")


class OnlineStrategy(Declared, SupervisedTemplate):
    """Base of the strategies: one pass over a stream, several updates per batch, classes observed
    on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as usual. It never uses an experience's id or a task label for
    learning. Differences from Avalanche's own templates:

    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples
      only, not those that plugins add;
    * classes are observed in the labels of the incoming batch, before it is trained on;
    * task boundaries are used where they are announced (``experience.boundaries``; see
      ``boundaries``);
    * experiences with ``ordered=True`` are trained in their order, not shuffled, and no sample is
      dropped;
    * only parameters that require a gradient enter the optimizer, and its groups and state are
      kept;
    * cumulative test sets, which share their images, are not evaluated together;
    * batches come from a loader of our own, so that ``_unpack_minibatch`` is asked in evaluation
      alone.

    With a multi-label model the loss is binary cross-entropy over the classes annotated in the
    experience (``classes_in_this_experience``), since a zero elsewhere has no meaning.

    A method declares its settings (see :class:`~cl_prompts.strategies.base.settings.Declared`),
    builds its network in :meth:`build_model`, and overrides those hooks that it needs, from
    :meth:`default_optimizer` to :meth:`remember`. Options that act during training are plugins
    (:class:`~cl_prompts.strategies.base.plugin.StrategyPlugin`).

    Raises:
        InputError: a setting that is unknown, out of range, or not defined for the method.

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
    """The frozen ViT, for RGB images in [0, 1]; with ``n_classes`` it builds the model."""
    n_classes: Count | None = None
    """Classes of the data set: columns of the head."""
    model: Any = None
    """A model such as ``build_model`` makes, instead of ``backbone`` and ``n_classes``; settings
    that ``build_model`` would read, such as sizes of prompts, are then the model's own."""
    multi_label: bool = False
    """An image may show several classes."""
    optimizer: Any = None
    """Optimizer of the model's trainable parameters; by default Adam with ``lr``."""
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
    views: Count | None = None
    """Number of random views of each sample, which take turns, so that the frozen part of a pass is
    computed once for each. None: every update draws a new view. Without augmentation a run takes
    1."""
    buffer_size: Size = 0
    """Samples in the replay buffer; 0 for none."""
    buffer_batch_size: Count | None = None
    """Replayed samples that join each stream batch; None for half of ``train_mb_size``."""
    boundaries: bool | None = None
    """Whether the method may use the start of an experience as a task boundary: True
    (task-aware), False (task-free), or None for what the experience announces (incremental
    scenarios announce boundaries, blurry and online streams do not)."""
    period: Count | None = None
    """Stream samples after which a method's end-of-task work is done where no boundary is
    announced; None for never."""
    class_mask: ClassMask = "seen"
    """Classes that compete in the cross-entropy of images with one label; head rows of the others
    get no gradient. ``"seen"``: all classes seen so far. ``"current"``: those of the announced
    task, for a replayed sample those of its own; all classes seen where no boundary is announced.
    ``"batch"``: those that occur in the mini-batch, replayed samples included (SinglePrompt, MISA).
    Tests are always over the classes seen."""
    head: Head = Head()
    """The head over all classes, and what it reads; settings that are not given stay the
    method's."""
    read_out: str = "token"
    """What is read of a pass, prompted where there are prompts: ``"token"``, the class token of the
    last block, or ``"blocks:K"``, those of the last K blocks side by side, each behind the final
    norm (``half`` for half of all blocks). ``"blocks:K+patches"`` reads their mean patch tokens,
    too, ``"raw_blocks:K"`` leaves out the norm. No further pass (see
    :class:`~cl_prompts.backbones.read_out.ReadOut`)."""
    schedule: Schedule = "constant"
    """Schedule of the learning rate over the epochs of one experience: ``"constant"``,
    ``"cosine"`` (to zero, per epoch) or ``"coda"`` (CODA-Prompt's, to 1.6 %)."""
    new_optimizer: bool = False
    """Start each announced task with fresh optimizer state."""
    clip_norm: Positive | None = None
    """Bound on the gradient's global norm; None for none."""
    loss_norm: LossNorm = "current"
    """Normalisation of a multi-label loss: mean over the ``"current"`` classes, or over ``"all"``
    (see :func:`~cl_prompts.losses.multi_label.multi_label_loss`)."""
    compile: bool = False
    """Compile the part of a pass that learns (``torch.compile``), which takes a minute or more at
    first: for long runs on a GPU."""
    device: Any = "auto"
    """``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ..."""
    plugins: Any = None
    """Options of this package and any Avalanche plugins; the list is copied. Where the method has a
    plugin of the same class (``own_plugins``), the given one takes its place, with the method's
    values for settings that are not given."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for silence."""
    eval_every: int = -1
    """As in Avalanche (periodic evaluation; -1 for none). For evaluation by sample count see
    :class:`~cl_prompts.strategies.AnytimeEvaluation`."""
    seed: Size = 0
    """Seed of the private generators (buffer, shuffling)."""
    growing: bool = False
    """Grow where an experience brings classes beyond ``n_classes``, see :meth:`grow`."""

    _stop_training: bool
    loss: Any
    """Loss of the current update."""

    keeps: ClassVar[str] = ""
    """Kept instead of samples, by a method that refuses a replay buffer."""
    own_plugins: ClassVar[tuple[StrategyPlugin, ...]] = ()
    """Plugins that the method is defined with."""
    whole_stream: ClassVar[bool] = False
    """Whether ``train`` needs all experiences at once."""
    plain_images: ClassVar[bool] = False
    """Whether a run gives the method training images as test images are, without augmentation; in
    Python that is ``load_dataset(..., augment=False)``."""
    masks_classes: ClassVar[bool] = True
    """Whether the method's loss knows ``class_mask="current"``."""
    weighs_alike: ClassVar[bool] = True
    """Whether all samples of a batch have the same weight in the method's cross-entropy, one."""
    of_optimizer: ClassVar[tuple[str, ...]] = ()
    """Settings, beside ``lr``, of the optimizer that the method makes."""
    remember_first: ClassVar[bool] = False
    """Whether stream samples enter the buffer before they are trained on, instead of after."""

    # The training loop, as functions of the strategy in a module of its own: there it is read
    # without the hooks that it calls.
    training_epoch = protocol.training_epoch
    """Train on the stream of an experience: the online protocol."""
    update = protocol.update
    """Make one optimizer step on a :class:`~cl_prompts.strategies.base.stream.Batch`."""
    make_train_dataloader = protocol.make_train_dataloader
    """Make a loader in stream order that yields each batch ``online_iter`` times."""
    label_loss = protocol.label_loss
    """Cross-entropy of logits (batch, classes) over the classes that compete (``class_mask``)."""
    competing_logits = protocol.competing_logits
    """Logits (batch, classes) with those of classes that do not compete at -inf."""
    competing_classes = protocol.competing_classes
    """Classes that compete in a loss over a whole batch, (classes,) boolean."""
    clip_gradients = protocol.clip_gradients
    """Bound the gradient's global norm by ``clip_norm``, if given."""
    check_loss = protocol.check_loss
    """Stop at a loss that is not finite."""

    def __new__(cls, *positional: Any, **settings: Any) -> Self:
        """Refuse a construction in Avalanche's manner, before any subclass looks at it."""
        foreign = settings.keys() - cls.settings().keys()
        refuse_foreign_arguments(cls.__name__, positional, sorted(foreign))
        return super().__new__(cls)

    def __init__(self, **settings: Any) -> None:
        self.take(settings)
        self.check_settings()
        self.state = Registered(self)
        """State that :meth:`state_dict` holds beside that of model, optimizer and buffer."""
        self.device = pick_device(self.device)
        check_torch(self.device)
        self.model = self._given_or_built()
        # Before the optimizer is made: a plugin may replace parts of the model, or add some.
        self.plugins = with_own_plugins(self.own_plugins, self.plugins or ())
        refuse_unfit(self.plugins, type(self).__name__, gradients="lr" in self.settings())
        if self.schedule != "constant":
            refuse_second_schedule(type(self).__name__, self.plugins)
        trigger_plugins(self, "attach")
        check_tensors(self.model, without_values=self.device.type == "meta")
        own = self.settings().keys() - OnlineStrategy.settings().keys()
        values = {name: getattr(self, name) for name in own}
        self.model.to(self.device)
        if self.compile:
            check_release()
            self.model.compiled = CompiledDecoding(self.model)
        SupervisedTemplate.__init__(
            self,
            model=self.model,
            optimizer=self.optimizer or self.default_optimizer(self.model, self.lr),
            criterion=no_criterion if self.model.multi_label else nn.CrossEntropyLoss(),
            train_mb_size=self.train_mb_size,
            eval_mb_size=self.eval_mb_size,
            train_epochs=self.train_epochs,
            device=self.device,
            plugins=self.plugins,
            evaluator=chosen_evaluator(self.evaluator, multi_label=self.model.multi_label),
            eval_every=self.eval_every,
        )
        if self.model.multi_label:
            refuse_accuracy(self.evaluator)
        self.replay = Replay(
            self.make_buffer(self.buffer_size, self.seed),
            self.buffer_batch_size or max(1, self.train_mb_size // 2),
        )
        self.replay.views = self.views
        self.replay.check = image_check(self.model)
        self.replay.device = self.device
        self.feature_cache = FeatureCache(self.views)
        self._begin()
        for name, value in values.items():
            if getattr(self, name) is not value:
                raise name_taken(type(self).__name__, name)
        claim(self.plugins)

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
        self.between_batches: Callable[[], None] | None = None
        """Called after each stream batch, where ``state_dict`` may be taken."""
        self.place: dict[str, Any] | None = None
        """Where training resumes inside the next experience: ``samples`` of the epoch that are
        done, and counters of Avalanche's ``clock``; None for its start."""
        self.task_position = TaskPosition()
        """Where in its task the current experience lies."""
        self.task_labels: set[int] = set()
        """Task labels of the experiences trained on."""
        self.was_stopped = False
        """Whether a plugin ended the training of the last experience."""
        self._read_twice = False
        self._evaluated = 0
        self._beyond = 0
        self._resumed: dict[str, Any] | None = None
        self._shown: list[tuple[Tensor, int | None]] = []
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
            model = self.build_model(self.backbone.reading(self.read_out), self.n_classes)
            self.fit_model(model)
        else:
            check_model(type(self).__name__, model)
            self.refuse_for_given_model()
        if model.multi_label and "multi_label" not in self.settings():
            raise InputError(
                f"{type(self).__name__} is defined for one class per image: give it a model that"
                " is not multi-label"
            )
        if model.multi_label and self.class_mask == "batch":
            raise InputError(
                "class_mask=batch chooses the classes of a softmax, and several classes per image"
                " have a logistic loss each: leave it out"
            )
        return model

    def check_settings(self) -> None:
        """Hook: refuse settings that contradict each other; words and bounds are checked before."""
        if self.optimizer is not None:
            check_optimizer(self.optimizer)
        for name in self.of_optimizer if self.optimizer is not None else ():
            if self.given.get(name) not in (None, 0, "none"):
                raise InputError(
                    f"{name} is for the optimizer that the strategy makes, and one was given: leave"
                    " one of the two out"
                )
        if self.class_mask == "current" and not self.masks_classes:
            raise InputError(
                f"the loss of {type(self).__name__} is over all classes seen: leave out"
                " class_mask=current"
            )
        if self.keeps and self.buffer_size:
            raise InputError(
                f"{type(self).__name__} keeps {self.keeps} and replays nothing: leave buffer_size"
                " at 0"
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

    # ---------------------------------------------------------------- hooks: model and optimizer

    def build_model(self, backbone: FrozenViT, n_classes: int) -> ContinualModel:
        """Build the method's network from its settings."""
        raise NotImplementedError(f"{type(self).__name__} has no build_model: give model=")

    def fit_model(self, model: ContinualModel) -> None:
        """Give a model that was just built what settings ask for: its head."""
        self.head.fit(model)

    def refuse_for_given_model(self) -> None:
        """Refuse settings of the construction for a model that was given ready-made."""
        self.head.refuse_for_given_model()
        if self.read_out != "token":
            raise InputError(
                "read_out says what a model reads, and this one was given: give backbone.reading("
                f"{self.read_out!r}) where you build it"
            )

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

    def room_for_a_task(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Settings with room for one announced task more, where the method divides prompts among
        tasks."""
        return {"n_tasks": settings["n_tasks"] + 1}

    # ------------------------------------------------------------------ hooks: stream and tasks

    def check_announced(self, *, announced: bool) -> None:
        """Hook: refuse a stream that announces the boundaries of its tasks, or one that announces
        none; plugins may have the same. A run asks before it begins."""
        trigger_plugins(self, "check_announced", announced=announced)

    def check_experience(self, experience: Any) -> None:
        """Refuse an experience that the method cannot learn from, before its first batch."""
        check_labels(experience, self.model, type(self).__name__)

    def remarks_on(self, tasks: Sequence[np.ndarray], *, announced: bool) -> list[str]:
        """Sentences on what the method leaves undone on a stream, for its user.

        Args:
            tasks: for each task the classes of its samples, (n,), in their order.
            announced: whether the method knows where tasks end.
        """
        return []

    def start_task(self, classes: Tensor) -> None:
        """Prepare for an announced task, before its first batch.

        Args:
            classes: (classes,) boolean, the classes of the task.
        """

    def finish_task(self) -> None:
        """Finish a task: called after the last sample of an announced task, or every ``period``
        samples where none is announced; plugins follow."""

    def start_period(self) -> None:
        """Begin the next period, where no boundary is announced, once plugins have finished the
        last one."""

    def observe_classes(self, labels: Tensor) -> None:
        """Observe the classes of a stream batch before it is trained on."""
        self.model.observe_classes(labels)

    def remember(self, rows: Tensor, batch: Batch, output: Output | None) -> None:
        """Offer a batch's stream samples to the buffer; called once for each sample.

        Args:
            rows: (n,) rows of the current experience: the first n samples of the batch.
            batch: that was just trained on or, with ``remember_first``, is about to be.
            output: of the update just made; None with ``remember_first``.
        """
        self.replay.add(rows, batch.labels_on_host(len(rows)))

    def replayed(self) -> tuple[Tensor, Tensor]:
        """References (m, 2) of the samples that may be read again, and their labels, (m,) or
        (m, classes)."""
        return self.buffer.slots[: len(self.buffer)], self.replay.labels()

    def forget_samples(self, references: Tensor) -> Tensor:
        """Take samples (m, 2) out of the buffer; the free slots are those of the next samples.

        Returns:
            (k,) slots whose samples were kept, which are the first k now.
        """
        held = self.buffer.slots[: len(self.buffer)]
        kept = among(held, references).logical_not().nonzero()[:, 0]
        self.buffer.keep(kept)
        return kept

    def state_loaded(self) -> None:
        """Bring what is derived from the state up to it, once :meth:`load_state_dict` is done."""

    # ------------------------------------------------------------------ hooks: one update

    def make_batch(self, stream: Batch) -> Batch:
        """Join a view of a stream batch with newly drawn replayed samples."""
        return self.replay.join(stream, self.updates) if self.buffer_size else stream

    def training_output(self, batch: Batch) -> Output:
        """Run the model on a batch."""
        if batch.samples is None:
            return self.model.run(batch.images)
        return self.feature_cache.run(self.model, batch)

    def training_loss(self, output: Output, batch: Batch) -> Tensor:
        """Loss of the method on a batch: by default :meth:`label_loss`."""
        return self.label_loss(output.logits, batch)

    def aligned_classifiers(self) -> list[Classifier]:
        """Classifiers that the plugin for head alignment trains: the head, and further ones of the
        method."""
        return [head_of(self.model)]

    def after_step(self, output: Output, batch: Batch) -> None:
        """Update a method's statistics, after each optimizer step."""

    def learning_rate_factor(self) -> float:
        """Factor of the schedule on each group's own learning rate in this epoch."""
        return learning_rate_factor(self.schedule, self.clock.train_exp_epochs, self.train_epochs)

    def set_learning_rate(self) -> None:
        """Set each group's learning rate for this epoch of the experience."""
        # Where rates are constant, they are left to the optimizer and to plugins.
        if self.schedule != "constant":
            scale_learning_rates(self.optimizer, self.learning_rate_factor())

    def _end_task(self) -> None:
        self.finish_task()
        trigger_plugins(self, "end_of_task")

    def backward(self) -> None:
        """Compute gradients."""
        if not self.loss.requires_grad:
            raise InputError(NOTHING_TO_TRAIN)
        super().backward()

    def optimizer_step(self) -> None:
        """Make a step, after which what is cached of the old parameters is out of date."""
        super().optimizer_step()
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    # Torch's fused optimizers do not count their writes, by which caches go.
                    torch.autograd.graph.increment_version(parameter)

    # ------------------------------------------------------------------ Avalanche's template

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
        check_surroundings(self.model, training=True)
        # Before any image is read; a method that fixes parameters on its way is asked at each
        # backward pass.
        learned = [p for group in self.optimizer.param_groups for p in group["params"]]
        if learned and not self.updates and not any(p.requires_grad for p in learned):
            raise InputError(NOTHING_TO_TRAIN)
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        for stream in eval_streams or ():
            refuse_overlap(list(stream) if isinstance(stream, Iterable) else [stream])
        for experience in experiences:
            check_order(experience)
        if self.growing:
            # Before labels are compared with the rows of the head.
            self.grow(max(0, highest_class(experiences) + 1 - self.model.n_classes))
        ordered = [mark_of(e, "ordered", False) for e in experiences]
        if any(ordered) and not all(ordered) and "shuffle" not in kwargs:
            raise InputError(
                "the order of samples is part of the scenario in some of these experiences, and not"
                " in others: train on the two in calls of their own, or give shuffle="
            )
        kwargs.setdefault("shuffle", not all(ordered))
        if self.place is not None:
            # Events of a beginning come again, and what plugins did at them is in the state.
            self._resumed = learned_parts(self)
        return super().train(experiences, eval_streams, **kwargs)

    def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate as in Avalanche; several cumulative test sets, which share their images, are
        refused."""
        check_surroundings(self.model)
        experiences = list(experiences) if isinstance(experiences, Iterable) else [experiences]
        refuse_overlap(experiences)
        return super().eval(experiences, **kwargs)

    def _before_training_exp(self, **kwargs: Any) -> None:
        given = self.boundaries
        self.announced = announces_boundaries(self.experience) if given is None else given
        self.check_announced(announced=self.announced)
        self.check_experience(self.experience)
        check_class_ids(self.experience, self.model, self.task_labels)
        self.annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
        # What is resumed was entered before: its task has started, its samples are known.
        resumed = self.place is not None
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
            # Once a process: a strategy that is resumed may get other data.
            if not self._read_twice:
                check_recurring(self.adapted_dataset)
                self._read_twice = True
            self.feature_cache.enter(self.source, n, replayed=self.buffer_size > 0)
        if own_sampler(self.dataloader) is None:
            check_foreign_loader(self)

    @property
    def source(self) -> int:
        """Number of the current experience, by which replayed samples refer to it."""
        # Where training broke off, the clock did not count an experience that was entered.
        return self.replay.n_sources - 1 if self.buffer_size else self.clock.train_exp_counter

    def _after_train_dataset_adaptation(self, **kwargs: Any) -> None:
        own = self.adapted_dataset
        super()._after_train_dataset_adaptation(**kwargs)
        if self.adapted_dataset is not own:
            check_same_samples(own, self.adapted_dataset)

    def _before_eval_exp(self, **kwargs: Any) -> None:
        # A growing head has no columns yet for the classes of tasks to come.
        own = highest_class([self.experience]) if self.growing else 0
        self._beyond = max(0, own + 1 - self.model.n_classes)
        check_labels(self.experience, self.model, type(self).__name__, self._beyond)
        self._evaluated = 0  # samples of the experience
        super()._before_eval_exp(**kwargs)

    def _unpack_minibatch(self) -> None:
        super()._unpack_minibatch()
        check_kind(self.model, self.mb_y)
        self._shown = protocol.as_shown(self)

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
            if self._resumed is not None:
                load_learned_parts(self, self._resumed)
                self.state_loaded()
                self._resumed = None
            self.training_epoch(**kwargs)
            # A GPU has checked every 50th step alone.
            self.check_loss(now=True)
            check_weights(self.model, self.samples_seen, (self, *self.plugins))
            self._after_training_epoch(**kwargs)
        self.was_stopped = self._stop_training
        self.place = self._resumed = None
        # Stopped in the last epoch: the next experience is trained all the same.
        self._stop_training = False

    def _after_training_exp(self, **kwargs: Any) -> None:
        # First, so that plugins and evaluation after the experience see the finished task.
        if self.announced and self.task_position.last:
            self._end_task()
        self.feature_cache.leave(replayed=self.buffer_size > 0)
        # Plugins measure the importance of parameters by what the model gives (MAS squares it).
        self.model.finite_forward = True
        super()._after_training_exp(**kwargs)
        self.model.finite_forward = False

    def _train_cleanup(self) -> None:
        super()._train_cleanup()
        self.replay.close()
        self.batch = None
        self.output = None

    def _obtain_common_dataloader_parameters(self, **kwargs: Any) -> dict[str, Any]:
        """Arguments that Avalanche gives its loader of test images, and a check of them."""
        found: dict[str, Any] = super()._obtain_common_dataloader_parameters(**kwargs)
        collate = checked_collate(self.adapted_dataset, self.replay.check)
        return {**found, "collate_fn": collate}

    def make_eval_dataloader(self, **kwargs: Any) -> None:
        """Make Avalanche's loader of test images, whose labels have to be those of the stream."""
        data = self.adapted_dataset
        self.adapted_dataset: Any = HeldOutItems(data, data.targets)
        super().make_eval_dataloader(**kwargs)
        self.adapted_dataset = data

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters, each in its group, and drop frozen ones; the state of
        the others is kept. Groups are in the order of the model, whatever came when: PyTorch saves
        by place."""
        self.optimized_param_id = dict(self.model.named_parameters())
        trainable = {id(p): n for n, p in self.optimized_param_id.items() if p.requires_grad}
        groups: list[dict[str, Any]] = self.optimizer.param_groups
        # What was fixed leaves, since momentum and weight decay would go on moving it.
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) in trainable]
        known = {id(p) for group in groups for p in group["params"]}
        for key, name in trainable.items():
            if key not in known:
                # A group that a method knows of is missing where another optimizer was given.
                group = groups[min(self.group_of(name), len(groups) - 1)]
                group["params"].append(self.optimized_param_id[name])
        place = {key: number for number, key in enumerate(trainable)}
        for group in groups:
            group["params"].sort(key=lambda parameter: place[id(parameter)])
        for parameter in list(self.optimizer.state):
            if reset_optimizer_state or id(parameter) not in trainable:
                del self.optimizer.state[parameter]

    def forward(self) -> Tensor:
        """Logits for Avalanche, with a large finite negative for masked classes, so that any loss
        or metric stays finite.

        Raises:
            InputError: a plugin has changed a batch of evaluation to what no loader may give.
            RunError: NaN, or +inf, in evaluation, with the positions of the images.
        """
        if self._shown and protocol.is_changed(self, self._shown):
            check_batch(self.model, self.mb_x, self.mb_y, self._beyond)
        self._shown = []
        logits = self.model.run(self.mb_x).logits
        if not self.is_training:
            check_finite(torch.arange(self._evaluated, self._evaluated + len(logits)), logits)
            self._evaluated += len(logits)
            logits = F.pad(logits, (0, self._beyond), value=-torch.inf)
        return finite(logits)

    def criterion(self) -> Tensor:
        """Loss in evaluation: plain (binary) cross-entropy over the seen classes."""
        if self.model.multi_label:
            annotated = classes_of(self.experience, self.model.n_classes).to(self.device)
            return multi_label_loss(self.mb_output, self.mb_y, self.model.seen & annotated)
        return F.cross_entropy(self.mb_output, self.mb_y)

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

        Raises:
            InputError: another backbone, other plugins, or too few experiences.
        """
        load_strategy_state(self, state, experiences)
        self.state_loaded()

    grow = growth.grow
    """Make room for ``classes`` that come later, a number or names, and for ``tasks``, between two
    experiences."""
    forget = growth.forget
    """Give up ``classes``, by their numbers, between two experiences; the names of the parts that
    keep what they learned of them."""

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)

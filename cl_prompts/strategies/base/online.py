"""Base of all strategies: settings, model, optimizer and state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import torch
from avalanche.benchmarks import CLExperience
from avalanche.training.plugins.evaluation import default_evaluator

from cl_prompts.backbones import ranks
from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.checks import Count, Positive, Size
from cl_prompts.errors import InputError
from cl_prompts.losses.multi_label import LossNorm
from cl_prompts.models.base import ContinualModel
from cl_prompts.models.compiled import CompiledDecoding, check_release
from cl_prompts.strategies.base.batch import Place
from cl_prompts.strategies.base.construction import check_model, refuse_foreign_arguments
from cl_prompts.strategies.base.experience import TaskPosition
from cl_prompts.strategies.base.frozen_work import FrozenWork
from cl_prompts.strategies.base.head_settings import HeadSettings
from cl_prompts.strategies.base.labels import classes_of
from cl_prompts.strategies.base.loop import StreamLoop
from cl_prompts.strategies.base.replay import Replay
from cl_prompts.strategies.base.template import (
    multi_label_evaluator,
    silent_evaluator,
)
from cl_prompts.strategies.plugins.multi_label_metrics import refuse_accuracy
from cl_prompts.training.schedules import Schedule


class OnlineStrategy(StreamLoop, HeadSettings):
    """Base of the strategies: one pass over a stream, several updates per batch, classes observed
    on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins,
    evaluator and loggers work as usual. It never uses an experience's id or a task label for
    learning. Differences from Avalanche's own templates, in addition to those of
    :class:`~cl_prompts.strategies.base.template.StreamTemplate`:

    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples
      only, not those that plugins add;
    * classes are observed in the labels of the incoming batch, before it is trained on;
    * task boundaries are used where they are announced (``experience.boundaries``; see
      ``boundaries``).

    With a multi-label model the loss is binary cross-entropy over the classes annotated in the
    experience (``classes_in_this_experience``), since a zero elsewhere has no meaning.

    A method declares its settings (see :class:`~cl_prompts.strategies.base.settings.Declared`),
    builds its network in :meth:`build_model`, and overrides those of the
    :class:`~cl_prompts.strategies.base.hooks.MethodHooks` that it needs.

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
    """A model such as ``build_model`` makes, instead of ``backbone`` and ``n_classes``."""
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
    """Different random views of each sample, taken in turn: the frozen part of a pass over each is
    computed once. None for a new view in each update. Runs without augmentation take 1."""
    views_spill: str | None = None
    """Folder for frozen work of these views beyond 1 GiB of memory, in a file that is removed at
    the end; None: what does not fit is computed at each pass."""
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
    """Avalanche plugins; the list is copied."""
    evaluator: Any = default_evaluator
    """Avalanche's evaluator; None for silence."""
    eval_every: int = -1
    """As in Avalanche (periodic evaluation; -1 for none). For evaluation by sample count see
    :class:`~cl_prompts.strategies.AnytimeEvaluation`."""
    seed: int = 0
    """Seed of the private generators (buffer, shuffling)."""

    whole_stream: ClassVar[bool] = False
    """Whether ``train`` needs all experiences at once."""
    plain_images: ClassVar[bool] = False
    """Whether a run gives the method training images as test images are, without augmentation; in
    Python that is ``load_dataset(..., augment=False)``."""

    def __new__(cls, *positional: Any, **settings: Any) -> Self:
        """Refuse a construction in Avalanche's manner, before any subclass looks at it."""
        foreign = settings.keys() - cls.settings().keys()
        refuse_foreign_arguments(cls.__name__, positional, sorted(foreign))
        return super().__new__(cls)

    def __init__(self, **settings: Any) -> None:
        self.take(settings)
        self.check_settings()
        self.device = pick_device(self.device)
        if ranks.is_distributed():
            self.check_ranks()
        model = self._given_or_built()
        evaluator = self.evaluator
        if evaluator is default_evaluator and ranks.rank():
            evaluator = None  # Avalanche's loggers are for rank 0
        elif evaluator is default_evaluator and model.multi_label:
            evaluator = multi_label_evaluator
        model.to(self.device)
        if self.compile:
            check_release()
            model.compiled = CompiledDecoding(model)
        super().__init__(  # type: ignore[call-arg]  # that of Avalanche's template
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
        self.replay.views = self.views
        self.frozen_work = FrozenWork(self.views, spill=self.views_spill)
        self.annotated = torch.ones(model.n_classes, dtype=torch.bool, device=self.device)
        """Classes that the current experience labels, (classes,)."""
        self.tasks_started = 0
        """Announced tasks begun so far."""
        self.samples_seen = 0
        """Stream samples trained on so far, each counted once (per epoch)."""
        self.updates = 0
        """Optimizer steps so far."""
        self.single_class_batches = torch.zeros((), dtype=torch.int64, device=self.device)
        """Updates on a batch of one class, which ``class_mask="batch"`` learns nothing from."""
        self.shuffler = torch.Generator().manual_seed(self.seed)
        self._next_period = self.period or 0
        self._position = TaskPosition()
        self._task_labels: set[int] = set()

    def _given_or_built(self) -> ContinualModel:
        """Return the given model, or build the method's own on the given backbone."""
        model: ContinualModel | None = self.model
        if model is None:
            if self.backbone is None or self.n_classes is None:
                raise InputError("give either model= or both backbone= and n_classes=")
            model = self.build_model(self.backbone, self.n_classes)
            self.fit_head(model)
        else:
            check_model(type(self).__name__, model)
            self.refuse_for_given_model()
        if model.multi_label and "multi_label" not in self.settings():
            raise InputError(
                f"{type(self).__name__} is defined for one class per image: give it a model that"
                " is not multi-label"
            )
        self.check_labels_of(model)
        return model

    def check_settings(self) -> None:
        """Hook: refuse settings that contradict each other; words and bounds are checked before."""
        self.check_class_mask(self.train_mb_size)

    def check_ranks(self) -> None:
        """Refuse what several processes that train one model cannot do."""
        if self.compile:
            raise InputError(
                "compile=True is for one process, since ranks talk to each other within a pass:"
                " leave it out, or start without torchrun"
            )
        if self.views_spill is not None:
            raise InputError(
                "views_spill is for one process, since all ranks would write the same files: leave"
                " it out"
            )
        if self.device.type not in ("cpu", "cuda") or self.device.index is not None:
            raise InputError(
                f"device={self.device} is one device, and there are {ranks.size()} ranks: give"
                " device=auto, cuda or cpu, and each takes its own"
            )

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """All state needed to resume, as tensors and plain values.

        It is whole after an experience, and inside of one when ``between_batches`` is called. The
        state of plugins is not included.
        """
        inside = self._inside
        return {
            "model": self.model.learned_state(),
            "optimizer": self.optimizer.state_dict(),
            "buffer": self.buffer.state_dict(),
            "tasks_started": self.tasks_started,
            "samples_of_task": self._position.samples,
            "next_period": self._next_period,
            "shuffler": self.shuffler.get_state() if inside is None else self._epoch_order,
            "place": None if inside is None else {"samples": inside.samples, "clock": inside.clock},
            "samples_seen": self.samples_seen,
            "updates": self.updates,
            "single_class_batches": int(self.single_class_batches),
            "experiences": self.clock.train_exp_counter,
            "sources": self.replay.n_sources,
            "frozen_work": self.frozen_work.state_dict(
                needed=self.train_epochs > 1 or self.buffer.size > 0
            ),
        }

    def load_state_dict(
        self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()
    ) -> None:
        """Inverse of :meth:`state_dict`.

        Args:
            state: from a strategy of the same construction.
            experiences: the experiences trained on before, in order, and last the one inside of
                which the state was taken, if it was; needed with a replay buffer. That experience
                is to be trained next.
        """
        self.replay.restore(state, [(e, classes_of(e, self.model.n_classes)) for e in experiences])
        self.model.load_learned_state(state["model"])
        self.frozen_work.load_state_dict(state["frozen_work"], self.model)
        self.make_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self.shuffler.set_state(state["shuffler"])
        self.samples_seen = int(state["samples_seen"])
        self.updates = int(state["updates"])
        self.single_class_batches.fill_(state["single_class_batches"])
        self.tasks_started = int(state["tasks_started"])
        self._next_period = int(state["next_period"])
        self._position.samples = int(state["samples_of_task"])
        self.clock.train_exp_counter = int(state["experiences"])
        self.place = None if state["place"] is None else Place(**state["place"])

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)

"""What all strategies share: an online training loop on Avalanche's template, and nothing about any one method."""

from __future__ import annotations

import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from avalanche.benchmarks import CLExperience
from avalanche.core import BasePlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from cl_prompts.backbone import FrozenViT
from cl_prompts.devices import pick_device
from cl_prompts.errors import InputError, RunError, unknown
from cl_prompts.heads import FINITE_MASK
from cl_prompts.memories import ReservoirMemory
from cl_prompts.models import Output, PromptedViT
from cl_prompts.strategies.loaders import RepeatedBatches


class OnlineStrategy(SupervisedTemplate):
    """Base of the strategies: one pass over a stream, several updates a batch, classes discovered on the way.

    It is an ordinary Avalanche strategy: ``train(experience)``, ``eval(stream)``, plugins, evaluator and loggers work as
    everywhere. It never uses an experience's id or a task label for learning. Differences from Avalanche's own templates:

    * experiences that say ``ordered`` (all streams of this package) are trained in their order, not shuffled;
    * ``online_iter`` updates are made on each batch; ``samples_seen`` counts stream samples, whatever plugins add;
    * classes are opened from the labels of the incoming batch, before it is trained on;
    * only parameters that require a gradient enter the optimizer, and its groups stay as they were given.

    Args:
        model: a :class:`~cl_prompts.models.PromptedViT`.
        optimizer: over the model's trainable parameters; by default Adam with ``lr``.
        lr: learning rate of the default optimizer.
        train_mb_size: stream samples per batch.
        eval_mb_size: test images per batch.
        train_epochs: passes over each experience; 1 is the online protocol.
        online_iter: updates per stream batch, each with its own augmentation and memory batch.
        memory_size: samples in a replay reservoir, 0 for none.
        memory_batch_size: memory samples that join each stream batch, half of ``train_mb_size`` by default.
        device: ``"auto"`` (GPU if there is one), ``"cpu"``, ``"cuda"``, ...
        plugins: Avalanche plugins; the list is copied.
        evaluator: Avalanche's evaluator; None for silence.
        eval_every: as in Avalanche (periodic evaluation; -1 for none). For evaluation by sample count see
            :class:`~cl_prompts.strategies.AnytimeEvaluation`.
        seed: of the private generators (memory, shuffling).

    Raises:
        InputError: a number out of range.
    """

    model: PromptedViT
    whole_stream = False
    """Whether ``train`` wants all experiences at once."""

    def __init__(
        self,
        *,
        model: PromptedViT,
        optimizer: Optimizer | None = None,
        lr: float = 5e-3,
        train_mb_size: int = 64,
        eval_mb_size: int = 128,
        train_epochs: int = 1,
        online_iter: int = 3,
        memory_size: int = 0,
        memory_batch_size: int | None = None,
        device: str | torch.device = "auto",
        plugins: Sequence[BasePlugin] | None = None,
        evaluator: EvaluationPlugin | Callable[[], EvaluationPlugin] | None = default_evaluator,
        eval_every: int = -1,
        seed: int = 0,
    ) -> None:
        positive = {
            "train_mb_size": train_mb_size,
            "eval_mb_size": eval_mb_size,
            "train_epochs": train_epochs,
            "online_iter": online_iter,
        }
        for name, value in positive.items():
            if value < 1:
                raise InputError(f"{name} is {value}: it must be at least 1")
        if lr <= 0:
            raise InputError(f"lr is {lr}: it must be positive")
        if memory_batch_size is not None and memory_batch_size < 1:
            raise InputError(f"memory_batch_size is {memory_batch_size}: it must be at least 1")
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
        self.online_iter, self.seed = online_iter, seed
        self.memory = ReservoirMemory(memory_size, width=2, seed=seed)
        self.memory_batch_size = memory_batch_size or max(1, train_mb_size // 2)
        self.samples_seen = 0
        """Stream samples trained on so far, each counted once (per epoch)."""
        self.updates = 0
        """Optimizer steps so far."""
        self.output: Output | None = None
        """The model's full output on the current mini-batch."""
        self._sources: list[Any] = []  # data sets that memory references point into
        self._shuffler = torch.Generator().manual_seed(seed)

    # ------------------------------------------------------------------ what a method overrides

    def default_optimizer(self, model: PromptedViT, lr: float) -> Optimizer:
        """Adam without weight decay on everything trainable, as published for MVP and its baselines."""
        return torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=lr)

    def training_loss(self) -> Tensor:
        """Loss of the current mini-batch from ``self.output`` and ``self.mb_y``: cross-entropy over the seen classes."""
        assert self.output is not None
        return F.cross_entropy(self.output.logits, self.mb_y)

    def after_step(self) -> None:
        """Called after each optimizer step, for a method's statistics."""

    # ------------------------------------------------------------------ Avalanche's hooks

    def train(
        self,
        experiences: CLExperience | Iterable[CLExperience],
        eval_streams: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        """Train on one experience or several in turn; ``shuffle`` defaults to False for ordered streams.

        ``num_workers``, ``pin_memory`` and the like go to the data loader as in Avalanche; ``drop_last`` does not exist,
        since every sample of a stream is delivered.
        """
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        kwargs.setdefault("shuffle", not all(getattr(e, "ordered", False) for e in experiences))
        return super().train(experiences, eval_streams, **kwargs)

    def forward(self) -> Tensor:
        """Logits with a large finite negative for unseen classes, so that any loss or metric stays finite."""
        self.output = self.model.run(self.mb_x)
        return self.output.logits.masked_fill(~self.model.seen, FINITE_MASK)

    def criterion(self) -> Tensor:
        """The method's loss in training; plain cross-entropy on the masked logits in evaluation."""
        return self.training_loss() if self.is_training else F.cross_entropy(self.mb_output, self.mb_y)

    def make_train_dataloader(
        self,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """A loader in stream order (or shuffled by the private generator) that yields each batch ``online_iter`` times."""
        accepted = {"persistent_workers", "prefetch_factor", "timeout", "multiprocessing_context"}
        if wrong := sorted(set(kwargs) - accepted):
            raise unknown("loader argument", wrong[0], {"num_workers", "shuffle", "pin_memory", *accepted})
        data = self.adapted_dataset
        order = self._shuffler if shuffle else None
        self.dataloader = DataLoader(
            data,
            batch_sampler=RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order),
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            collate_fn=getattr(data, "collate_fn", None),
            # A generator of its own keeps the global one out of it; worker processes take their seeds from it.
            generator=torch.Generator().manual_seed(self.seed + 1_000_003 * self.samples_seen),
            **kwargs,
        )

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters (in group 0) and drop frozen ones; groups and state are otherwise kept."""
        trainable = [p for p in self.model.parameters() if p.requires_grad]
        wanted = {id(p) for p in trainable}
        for group in self.optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) in wanted]
        known = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        self.optimizer.param_groups[0]["params"] += [p for p in trainable if id(p) not in known]
        if reset_optimizer_state:
            self.optimizer.state = defaultdict(dict)
        self.optimized_param_id = dict(self.model.named_parameters())

    def _before_training_exp(self, **kwargs: Any) -> None:
        self._check_labels()
        super()._before_training_exp(**kwargs)
        if self.memory.size:  # references point into it; without a memory nothing is kept
            self._sources.append(self.experience.dataset.train())
        if self.memory.size and not isinstance(self._batches, RepeatedBatches):
            raise InputError(
                "memory_size and a plugin that replaces the data loader cannot be combined: use one of the two"
            )

    @property
    def _batches(self) -> Any:
        """The sampler of our own loader; a plugin may have brought another loader."""
        return getattr(self.dataloader, "batch_sampler", None)

    def training_epoch(self, **kwargs: Any) -> None:
        """Each stream batch: open its classes, make ``online_iter`` updates, then count it and offer it to the memory."""
        loaded = self._batches.repeats if isinstance(self._batches, RepeatedBatches) else 1
        n, position = len(self.experience.dataset), 0
        for i, minibatch in enumerate(self.dataloader):
            if self._stop_training:
                break
            self.mbatch = minibatch
            self._unpack_minibatch()
            stream, repetition = self.mbatch, i % loaded
            if repetition == 0:
                self.model.see(self.mb_y)
            size = min(self.train_mb_size, n - position)
            for inner in range(self.online_iter // loaded):
                last = repetition + inner + 1 == self.online_iter
                self.mbatch = self._with_memory(stream)
                self._update(position, size if last else 0, **kwargs)
            position += size if repetition == loaded - 1 else 0
        self._check_loss(now=True)

    def _update(self, position: int, finished: int, **kwargs: Any) -> None:
        """One optimizer step with all of Avalanche's triggers; ``finished`` stream samples are done with after it."""
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
        self._before_update(**kwargs)
        self.optimizer_step()
        self._after_update(**kwargs)
        self.after_step()
        self.updates += 1
        self._check_loss()
        if finished:
            self._offer_to_memory(position, finished)
            self.samples_seen += finished
        self._after_training_iteration(**kwargs)

    # ------------------------------------------------------------------ memory and checks

    def _with_memory(self, stream: list[Tensor]) -> list[Tensor]:
        """The stream batch followed by a fresh memory batch."""
        if len(self.memory) == 0:
            return stream
        items = [self._sources[source][row] for source, row in self.memory.draw(self.memory_batch_size).tolist()]
        columns = zip(*items, strict=True)
        extra = [torch.stack([torch.as_tensor(value) for value in column]).to(self.device) for column in columns]
        return [torch.cat([a, b]) for a, b in zip(stream, extra, strict=True)]

    def _offer_to_memory(self, position: int, n: int) -> None:
        if self.memory.size:
            rows = self._batches.order[position : position + n]
            self.memory.add(torch.stack([torch.full_like(rows, len(self._sources) - 1), rows], dim=1))

    def _check_labels(self) -> None:
        """Before an experience: one class a sample, and a head row for each."""
        labels = torch.as_tensor(list(self.experience.dataset.targets))
        if labels.dim() != 1:
            raise InputError(
                f"{type(self).__name__} learns one label per image: targets of shape {tuple(labels.shape[1:])} were given"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.model.n_classes:
            wrong = int(labels.min()) if int(labels.min()) < 0 else int(labels.max())
            raise InputError(
                f"label {wrong} was met, but n_classes is {self.model.n_classes}: labels are 0 to n_classes - 1"
            )

    def _check_loss(self, *, now: bool = False) -> None:
        """Every step on the CPU, now and then on a GPU, where looking costs a synchronisation."""
        if (now or self.device.type == "cpu" or self.updates % 50 == 0) and not bool(torch.isfinite(self.loss)):
            raise RunError(
                f"the loss became {float(self.loss)} after {self.samples_seen} samples of the stream: "
                "a smaller learning rate may help"
            )

    # ------------------------------------------------------------------ state

    def state_dict(self) -> dict[str, Any]:
        """Everything of its own needed to go on after the last finished experience, as tensors and plain values.

        Plugins keep their state themselves.
        """
        return {
            "model": self.model.learned_state(),
            "optimizer": self.optimizer.state_dict(),
            "memory": self.memory.state_dict(),
            "shuffler": self._shuffler.get_state(),
            "samples_seen": self.samples_seen,
            "updates": self.updates,
            "experiences": self.clock.train_exp_counter,
        }

    def load_state_dict(self, state: dict[str, Any], experiences: Sequence[CLExperience] = ()) -> None:
        """Inverse of :meth:`state_dict`.

        Args:
            state: from a strategy of the same construction.
            experiences: the experiences trained on before, in order; needed with a replay memory.
        """
        if state["memory"]["filled"] and len(experiences) != state["experiences"]:
            raise InputError(
                f"the replay memory points into {state['experiences']} experiences, but {len(experiences)} were given"
            )
        self.model.load_learned_state(state["model"])
        self.make_optimizer()
        self.optimizer.load_state_dict(state["optimizer"])
        self.memory.load_state_dict(state["memory"])
        self._shuffler.set_state(state["shuffler"])
        self.samples_seen, self.updates = int(state["samples_seen"]), int(state["updates"])
        self.clock.train_exp_counter = int(state["experiences"])
        self._sources = [e.dataset.train() for e in experiences]

    def save(self, path: str) -> None:
        """Write what was learned (prompts, keys, masks, head) without the backbone."""
        self.model.save(path)

    def load(self, path: str) -> None:
        """Read what :meth:`save` wrote."""
        self.model.load(path)


def need_backbone(backbone: FrozenViT | None, n_classes: int | None) -> tuple[FrozenViT, int]:
    """Both, or an ``InputError`` that says what to pass."""
    if backbone is None or n_classes is None:
        raise InputError("give either model= or both backbone= and n_classes=")
    return backbone, n_classes


def _silent_evaluator() -> EvaluationPlugin:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin()

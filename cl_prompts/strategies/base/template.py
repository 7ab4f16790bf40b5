"""Avalanche's training template, adapted to streams."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate

from cl_prompts.backbones import ranks
from cl_prompts.errors import InputError, unknown
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.experience import check_order, mark_of
from cl_prompts.strategies.base.loaders import RepeatedBatches, keyed_loader
from cl_prompts.strategies.plugins.multi_label_metrics import MultiLabelMetrics
from cl_prompts.training.seeds import derived_seed

LOADER_ARGUMENTS = {
    "num_workers",
    "shuffle",
    "pin_memory",
    "persistent_workers",
    "prefetch_factor",
    "timeout",
    "multiprocessing_context",
}


class StreamTemplate(SupervisedTemplate):
    """Avalanche's ``SupervisedTemplate``, adapted to streams.

    * Experiences with ``ordered=True`` are trained in their order, not shuffled, and no sample is
      dropped.
    * Only parameters that require a gradient enter the optimizer, and its groups and state are
      kept.
    * Cumulative test sets, which share their images, are not evaluated together.

    Example:
        >>> from cl_prompts.strategies import L2P
        >>> issubclass(L2P, StreamTemplate) and issubclass(StreamTemplate, SupervisedTemplate)
        True
    """

    model: ContinualModel
    online_iter: int
    seed: int
    samples_seen: int
    shuffler: torch.Generator
    """Generator that shuffles where the order is not part of the scenario."""

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
        experiences = [experiences] if isinstance(experiences, CLExperience) else list(experiences)
        for stream in eval_streams or ():
            refuse_overlap(list(stream) if isinstance(stream, Iterable) else [stream])
        for experience in experiences:
            check_order(experience)
        ordered = all(mark_of(e, "ordered", False) for e in experiences)
        kwargs.setdefault("shuffle", not ordered)
        return super().train(experiences, eval_streams, **kwargs)

    def eval(self, experiences: Any, **kwargs: Any) -> dict[str, Any]:
        """Evaluate as in Avalanche; several cumulative test sets, which share their images, are
        refused."""
        experiences = list(experiences) if isinstance(experiences, Iterable) else [experiences]
        refuse_overlap(experiences)
        return super().eval(experiences, **kwargs)

    def make_train_dataloader(
        self,
        num_workers: int = 0,
        shuffle: bool = True,
        pin_memory: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Make a loader in stream order, or shuffled by the private generator, that yields each
        batch ``online_iter`` times, each time in other views."""
        if wrong := sorted(set(kwargs) - LOADER_ARGUMENTS):
            raise unknown("loader argument", wrong[0], LOADER_ARGUMENTS)
        data = self.adapted_dataset
        order = self.shuffler if shuffle else None
        batches = RepeatedBatches(len(data), self.train_mb_size, self.online_iter, order)
        batches.shared = ranks.is_distributed()
        self.dataloader = keyed_loader(
            data,
            batches,
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda" if pin_memory is None else pin_memory,
            # A private generator instead of the global one; worker processes take their seeds from
            # it.
            generator=torch.Generator().manual_seed(derived_seed(self.seed, self.samples_seen)),
            **kwargs,
        )

    @property
    def batches(self) -> RepeatedBatches | None:
        """The sampler of our own loader; None where a plugin has replaced the loader."""
        sampler = getattr(self.dataloader, "batch_sampler", None)
        return sampler if isinstance(sampler, RepeatedBatches) else None

    def group_of(self, name: str) -> int:
        """Number of the optimizer's group that a new parameter of the model enters, by its name."""
        return 0

    def make_optimizer(self, reset_optimizer_state: bool = False, **kwargs: Any) -> None:
        """Register new trainable parameters, each in its group, and drop frozen ones; the state of
        the others is kept."""
        groups = self.optimizer.param_groups
        trainable = {id(p): (n, p) for n, p in self.model.named_parameters() if p.requires_grad}
        for group in groups:
            group["params"] = [p for p in group["params"] if id(p) in trainable]
        known = {id(p) for group in groups for p in group["params"]}
        for key, (name, parameter) in trainable.items():
            if key not in known:
                # A group that a method knows of is missing where another optimizer was given.
                groups[min(self.group_of(name), len(groups) - 1)]["params"].append(parameter)
        for parameter in list(self.optimizer.state):
            if reset_optimizer_state or id(parameter) not in trainable:
                del self.optimizer.state[parameter]
        self.optimized_param_id = dict(self.model.named_parameters())


def refuse_overlap(experiences: Sequence[Any]) -> None:
    """Raise ``InputError`` if these are several test sets that share images."""
    if len(experiences) > 1 and any(getattr(e, "overlapping", False) for e in experiences):
        raise InputError(
            f"these {len(experiences)} test sets overlap, since each holds the images of those"
            " before it: evaluate one, such as benchmark.test_stream[t] after task t"
        )


def multi_label_evaluator() -> EvaluationPlugin:
    """Avalanche's default evaluator, with multi-label scores instead of accuracy."""
    return EvaluationPlugin(
        loss_metrics(minibatch=False, epoch=True, experience=True, stream=True),
        MultiLabelMetrics(),
        loggers=[InteractiveLogger()],
    )


def silent_evaluator() -> EvaluationPlugin:
    """An evaluator without metrics and loggers."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin()

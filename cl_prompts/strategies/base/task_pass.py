"""A further pass over the images of a task, and the classifiers that learn from its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.stream import (
    Batch,
    RepeatedBatches,
    keyed_loader,
)


@dataclass(frozen=True)
class Classifier:
    """A classifier of a method, and the features that it reads.

    Attributes:
        module: features (batch, dim) -> logits (batch, classes).
        features: output of the model -> (batch, dim).
        rows: batch -> (batch,) boolean, samples whose features enter streaming statistics; None:
            those of the stream.
        samples: draws of a class when it is aligned; None: as many as for the head.
        dim: width of the features; None: that of the head's.

    Example:
        >>> head = nn.Linear(4, 3)
        >>> Classifier(head, lambda output: output.raw).samples is None
        True
    """

    module: nn.Module
    features: Callable[[Output], Tensor]
    rows: Callable[[Batch], Tensor] | None = None
    samples: int | None = None
    dim: int | None = None


def head_of(model: ContinualModel) -> Classifier:
    """The head of a model, with the statistics through which raw features reach it."""
    head: Any = model.head
    module = head if model.whitening is None else nn.Sequential(model.whitening, head)
    return Classifier(module, raw_features)


def raw_features(output: Output) -> Tensor:
    """(batch, dim) features in front of the head's statistics."""
    assert output.raw is not None
    return output.raw


def task_batches(strategy: Any, data: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Images and labels of a task that ends, in views of their own where images are augmented.

    Args:
        strategy: that has trained on the task.
        data: of the task.
    """
    size = strategy.eval_mb_size
    batches = RepeatedBatches(len(data), size, repeats=1)
    batches.origin = strategy.samples_seen  # which keys the views
    for images, labels, *_ in keyed_loader(data, batches):
        yield images.to(strategy.device), labels.to(strategy.device)


def task_outputs(strategy: Any) -> Iterator[tuple[Output, Tensor]]:
    """Outputs of the current task's images, as the stream gives them, in evaluation but with the
    task's own prompts, and their labels, batch by batch."""
    # The whole task, also where mini-experiences cut it.
    data = whole_of(strategy.experience).dataset.eval()
    with torch.no_grad(), _as_in_evaluation(strategy.model):
        for images, labels in task_batches(strategy, data):
            yield strategy.model.run(images), labels


@contextmanager
def _as_in_evaluation(model: Any) -> Iterator[None]:
    """Evaluation mode of all but the selector, which knows its task in training mode alone."""
    model.eval()
    if getattr(model, "selector", None) is not None:
        model.selector.train()
    try:
        yield
    finally:
        model.train()

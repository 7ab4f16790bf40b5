"""Second pass over the images of a task, and the classifiers that read its features."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cl_prompts.models.base import ContinualModel, Output
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.stream import Batch, RepeatedBatches, keyed_loader


@dataclass(frozen=True)
class Classifier:
    """A classifier of a method, and the features that it reads.

    Attributes:
        module: maps features (batch, dim) to logits (batch, classes).
        features: maps the model's output to (batch, dim).
        rows: maps a batch to the (batch,) mask of samples that enter streaming statistics; None
            for all stream samples.
        samples: draws per class in alignment; None for as many as for the head.
        dim: width of the features; None for that of the head's.

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
    """Return the head of a model, with the whitening of its input if there is one."""
    head: Any = model.head
    module = head if model.whitening is None else nn.Sequential(model.whitening, head)
    return Classifier(module, raw_features)


def raw_features(output: Output) -> Tensor:
    """Return the features (batch, dim) before whitening."""
    assert output.raw is not None
    return output.raw


def task_batches(strategy: Any, data: Any) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of a finished task, in new views if images are augmented."""
    size = strategy.eval_mb_size
    batches = RepeatedBatches(len(data), size, repeats=1)
    batches.origin = strategy.samples_seen  # keys of the views
    for images, labels, *_ in keyed_loader(data, batches):
        yield images.to(strategy.device), labels.to(strategy.device)


def task_outputs(strategy: Any) -> Iterator[tuple[Output, Tensor]]:
    """Yield outputs and labels of the finished task, in evaluation mode with its own prompts."""
    # The whole task, even if it is cut into mini-experiences.
    data = whole_of(strategy.experience).dataset.eval()
    with torch.no_grad(), _as_in_evaluation(strategy.model):
        for images, labels in task_batches(strategy, data):
            yield strategy.model.run(images), labels


@contextmanager
def _as_in_evaluation(model: Any) -> Iterator[None]:
    """Set evaluation mode, but for the selector, which uses task prompts in training mode only."""
    model.eval()
    if getattr(model, "selector", None) is not None:
        model.selector.train()
    try:
        yield
    finally:
        model.train()

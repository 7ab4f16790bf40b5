"""Second pass over the images of a task."""

from collections.abc import Iterator

import torch
from avalanche.benchmarks.utils import AvalancheDataset
from torch import Tensor

from cl_prompts.models.base import Output
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import RepeatedBatches, keyed_loader


def task_batches(
    strategy: OnlineStrategy, data: AvalancheDataset
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield images and labels of a finished task, in new views if images are augmented."""
    size = strategy.eval_mb_size
    batches = RepeatedBatches(len(data), size, repeats=1)
    batches.origin = strategy.samples_seen  # keys of the views
    for images, labels, *_ in keyed_loader(data, batches):
        yield images.to(strategy.device), labels.to(strategy.device)


def task_outputs(strategy: OnlineStrategy) -> Iterator[tuple[Output, Tensor]]:
    """Yield outputs and labels of the finished task, in evaluation mode with its own prompts."""
    # The whole task, even if it is cut into mini-experiences.
    data = whole_of(strategy.experience).dataset.eval()
    strategy.model.eval()
    # A selector uses task prompts in training mode only.
    selector = getattr(strategy.model, "selector", None)
    if selector is not None:
        selector.train()
    with torch.no_grad():
        for images, labels in task_batches(strategy, data):
            yield strategy.model.run(images), labels
    strategy.model.train()

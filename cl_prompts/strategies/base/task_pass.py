"""Second pass over the images of a task."""

from collections.abc import Iterator

import torch
from torch import Tensor

from cl_prompts.models.base import Output
from cl_prompts.strategies.base.experience import whole_of
from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.stream import RepeatedBatches, keyed_loader


def task_outputs(strategy: OnlineStrategy) -> Iterator[tuple[Output, Tensor]]:
    """Yield outputs and labels of the finished task, in new views if images are augmented.

    The model is in evaluation mode, but with the task's own prompts.
    """
    # The whole task, even if it is cut into mini-experiences.
    data = whole_of(strategy.experience).dataset.eval()
    batches = RepeatedBatches(len(data), strategy.eval_mb_size, repeats=1)
    batches.origin = strategy.samples_seen  # keys of the views
    strategy.model.eval()
    # A selector uses task prompts in training mode only.
    selector = getattr(strategy.model, "selector", None)
    if selector is not None:
        selector.train()
    with torch.no_grad():
        for images, labels, *_ in keyed_loader(data, batches):
            yield strategy.model.run(images.to(strategy.device)), labels.to(strategy.device)
    strategy.model.train()

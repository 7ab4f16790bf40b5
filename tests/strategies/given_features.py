"""Streams of given features: images that say which feature is theirs."""

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from cl_prompts.scenarios import MultiLabelSplit, Split, benchmark_from_split
from tests.toy_data import Labelled

#: images that can be told apart by their brightness
MOST = 4096


def stream_of(labels: list[Tensor], visible: list[list[bool]] | None = None) -> list[Any]:
    """One experience for the labels of each task; several labels an image with ``visible``."""
    every = torch.cat(labels)
    starts = torch.tensor([0, *map(len, labels)]).cumsum(0).tolist()
    tasks = [range(low, high) for low, high in pairwise(starts)]
    images = (torch.arange(len(every)) / MOST).view(-1, 1, 1, 1).expand(-1, 3, 16, 16)
    data, numbers = Labelled(images, every.numpy()), every.numpy()
    if visible is None:
        split: Any = Split.of("given", numbers, tasks, boundaries=True)
    else:
        split = MultiLabelSplit.of("given", numbers, tasks, visible=visible, boundaries=True)
    return list(benchmark_from_split(data, data, split).train_stream)


def give(strategy: Any, features: Tensor) -> None:
    """Let the strategy's model see these features instead of the ViT's."""
    strategy.model.features = lambda images: features[(images[:, 0, 0, 0] * MOST).round().long()]

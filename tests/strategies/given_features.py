"""Streams of given features: images that say which feature is theirs."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.scenarios import MultiLabelSplit, Split, benchmark_from_split

#: images that can be told apart by their brightness
MOST = 4096


class Numbered(Dataset[Any]):
    """Images whose first pixel is their number."""

    def __init__(self, labels: Tensor) -> None:
        self.targets = labels.numpy()

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        label = self.targets[index]
        several = self.targets.ndim == 2
        image = torch.full((3, 16, 16), index / MOST)
        return image, torch.from_numpy(label).float() if several else label


def stream_of(labels: list[Tensor], visible: list[list[bool]] | None = None) -> list[Any]:
    """One experience for the labels of each task; several labels an image with ``visible``."""
    every = torch.cat(labels)
    starts = torch.tensor([0, *map(len, labels)]).cumsum(0).tolist()
    tasks = [range(low, high) for low, high in pairwise(starts)]
    data, numbers = Numbered(every), every.numpy()
    if visible is None:
        split: Any = Split.of("given", numbers, tasks, boundaries=True)
    else:
        split = MultiLabelSplit.of(
            "given", numbers, tasks, visible=visible, boundaries=True, test_labels=numbers
        )
    return list(benchmark_from_split(data, data, split).train_stream)


def give(strategy: Any, features: Tensor) -> None:
    """Let the strategy's model see these features instead of the ViT's."""
    strategy.model.features = lambda images: features[(images[:, 0, 0, 0] * MOST).round().long()]

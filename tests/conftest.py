"""Shared by all tests: tiny random ViTs, tiny data sets, one thread a process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbone import FrozenViT

torch.set_num_threads(1)

TINY = {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 4, "num_heads": 2, "num_classes": 0}


def tiny_vit(**changes: Any) -> FrozenViT:
    """A random frozen ViT: 16 px, 4 patches, width 16, 4 blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(**{**TINY, **changes})
        for name, parameter in vit.named_parameters():  # LayerScale and biases away from their trivial initial values
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.2)
    return FrozenViT(vit)


class Blobs(Dataset[Any]):
    """Images whose class is a colour pattern: learnable by a head on a random ViT."""

    def __init__(self, n: int, n_classes: int, *, seed: int = 0, size: int = 16) -> None:
        rng = np.random.default_rng(seed)
        patterns = np.random.default_rng(99).random((n_classes, 3, size, size))
        self.targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(self.targets)
        noise = rng.random((n, 3, size, size))
        self.images = torch.from_numpy(0.8 * patterns[self.targets] + 0.2 * noise).float()
        self.reads = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.reads += 1
        return self.images[index], int(self.targets[index])


@pytest.fixture
def vit() -> FrozenViT:
    return tiny_vit()


@pytest.fixture
def blobs() -> tuple[Blobs, Blobs]:
    return Blobs(120, 6, seed=1), Blobs(48, 6, seed=2)

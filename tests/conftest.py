"""Shared by all tests: tiny random ViTs, tiny data sets, one thread a process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbones.vit import FrozenViT

torch.set_num_threads(1)

TINY = {
    "img_size": 16,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": 4,
    "num_heads": 2,
    "num_classes": 0,
}


def tiny_vit(**changes: Any) -> FrozenViT:
    """A random frozen ViT: 16 px, 4 patches, width 16, 4 blocks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(**{**TINY, **changes})
        for (
            name,
            parameter,
        ) in vit.named_parameters():  # LayerScale and biases away from their trivial initial values
            if parameter.dim() == 1:
                torch.nn.init.normal_(
                    parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.2
                )
    return FrozenViT(vit)


def lively_vit(**changes: Any) -> FrozenViT:
    """Like :func:`tiny_vit`, with weights so large that features tell images apart and attention is
    not flat."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(**{**TINY, **changes})
        for name, parameter in vit.named_parameters():
            if parameter.dim() > 1 and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
            elif parameter.dim() == 1:
                torch.nn.init.normal_(
                    parameter, mean=1.0 if "norm" in name and "weight" in name else 0.0, std=0.2
                )
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


class Riddles(Dataset[Any]):
    """Images that a linear head on :func:`lively_vit` half understands, and prompts on it do.

    Classes 2 p and 2 p + 1 share a background p and two marks, one in the left half and one in the
    right, each drawn as it is or inverted. The marks of an even class agree, those of an odd one do
    not: the exclusive or, which no linear function of the marks can tell.
    """

    def __init__(self, n: int, n_classes: int = 6, *, seed: int = 0, size: int = 16) -> None:
        rng, fixed, half = np.random.default_rng(seed), np.random.default_rng(7), size // 2
        backgrounds = fixed.random((n_classes // 2, 3, size, size))
        marks = fixed.normal(size=(n_classes // 2, 3, size, size))
        self.targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(self.targets)
        sides = np.ones((n, 1, 1, size))
        left = rng.integers(0, 2, n) * 2 - 1
        sides[..., :half] = left[:, None, None, None]
        sides[..., half:] = np.where(self.targets % 2 == 0, left, -left)[:, None, None, None]
        pair = self.targets // 2
        images = (
            0.25
            + 0.5 * backgrounds[pair]
            + 0.2 * sides * marks[pair]
            + 0.1 * rng.normal(size=(n, 3, size, size))
        )
        self.images = torch.from_numpy(images).float().clamp(0, 1)

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])


@pytest.fixture
def vit() -> FrozenViT:
    return tiny_vit()


@pytest.fixture
def blobs() -> tuple[Blobs, Blobs]:
    return Blobs(120, 6, seed=1), Blobs(48, 6, seed=2)

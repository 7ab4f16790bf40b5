"""Shared by all tests: one thread a process, and a tiny ViT."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from tests.toys import tiny_vit

torch.set_num_threads(1)


@pytest.fixture
def vit() -> FrozenViT:
    """A fresh tiny frozen ViT."""
    return tiny_vit()

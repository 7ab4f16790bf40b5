"""Batches, runs and features that several tests of strategies need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.strategies.base.stream import Batch
from tests.toy_data import Blobs
from tests.toy_vits import lively_vit
from tests.toys import fit, watch

#: slots of a batch without replayed samples
NO_SLOTS = torch.zeros(0, dtype=torch.int64)


def stream_batch(strategy: Any, images: Tensor, labels: Tensor) -> Batch:
    """A batch of the stream alone, in the strategy's current experience."""
    return Batch([images, labels], strategy.annotated, NO_SLOTS)


def noted(strategy: Any, method: str, note: Callable[..., Any], stream: Any) -> list[Any]:
    """Train on a stream; what ``note`` says of the arguments of each call of a method."""
    found: list[Any] = []
    watch(strategy, method, lambda *given, **named: found.append(note(*given, **named)))
    fit(strategy, stream)
    return found


def frozen_features(data: Blobs) -> np.ndarray:
    """Features of the toy ViT, in double precision."""
    with torch.no_grad():
        return lively_vit()(data.images).double().numpy()


def gradient_norm(strategy: Any) -> float:
    """Global norm of the gradients."""
    gradients = [p.grad for p in strategy.model.parameters() if p.grad is not None]
    return float(torch.stack([g.square().sum() for g in gradients]).sum().sqrt())

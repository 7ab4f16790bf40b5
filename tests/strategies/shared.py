"""Batches, runs and features that several tests of strategies need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from cl_prompts.strategies.base.stream import Batch
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

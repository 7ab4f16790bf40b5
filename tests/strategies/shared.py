"""Batches, runs and features that several tests of strategies need."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.strategies.base.stream import Batch
from tests.toy_data import Blobs, experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, same, weights

#: slots of a batch without replayed samples
NO_SLOTS = torch.zeros(0, dtype=torch.int64)


def stream_batch(strategy: Any, images: Tensor, labels: Tensor) -> Batch:
    """A batch of the stream alone, in the strategy's current experience."""
    return Batch([images, labels], strategy.annotated, NO_SLOTS)


def resumes(new: Callable[[], Any], scenario: str) -> Any:
    """Assert that two experiences, a state and the rest end where a whole run does.

    Args:
        new: makes the strategy.
        scenario: of the stream.

    Returns:
        The resumed strategy.
    """
    stream = experiences(scenario)
    whole = fit(new(), stream)
    first = fit(new(), stream[:2])
    second = new()
    second.load_state_dict(first.state_dict(), stream[:2])
    assert same(weights(first), weights(second))
    fit(second, stream[2:])
    assert same(weights(whole), weights(second))
    return second


def frozen_features(data: Blobs) -> np.ndarray:
    """Features of the toy ViT, in double precision."""
    with torch.no_grad():
        return lively_vit()(data.images).double().numpy()

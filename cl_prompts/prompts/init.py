"""Initial distributions of prompts and keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Distribution = Literal["normal", "uniform", "small"]

#: Initial values by name. L2P's and DualPrompt's JAX code ("small") and their PyTorch ports
#: ("uniform") are different regimes; the ports' published numbers were obtained with the latter.
INITIAL: dict[Distribution, Callable[[Sequence[int]], Tensor]] = {
    "normal": lambda shape: torch.randn(*shape),
    "uniform": lambda shape: torch.rand(*shape) * 2 - 1,
    "small": lambda shape: torch.rand(*shape) * 0.01,
}


def drawn(shape: Sequence[int], initial: Distribution) -> nn.Parameter:
    """A parameter drawn from N(0, 1) ("normal"), U(-1, 1) ("uniform") or U[0, 0.01) ("small")."""
    return nn.Parameter(INITIAL[initial](shape))

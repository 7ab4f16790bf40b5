"""Encoders that transform prompts during training."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["relu", "tanh", "sigmoid"]

ACTIVATIONS: dict[Activation, type[nn.Module]] = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


class MLPEncoder(nn.Module):
    """``LN(W2 act(W1 P + b1) + b2)`` per row (PRE's MLP1).

    Args:
        dim: row width.
        bottleneck: width of the hidden layer.
        activation: of the hidden layer.
        repeats: applications of the same weights; PRE's "MLP2" is 2, since its halves share
            weights.

    Example:
        >>> MLPEncoder(16, bottleneck=4)(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self, dim: int, *, bottleneck: int = 64, activation: Activation = "relu", repeats: int = 1
    ) -> None:
        super().__init__()
        self.repeats = repeats
        self.layers = nn.Sequential(
            nn.Linear(dim, bottleneck),
            ACTIVATIONS[activation](),
            nn.Linear(bottleneck, dim),
            nn.LayerNorm(dim),
        )

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (sequences, n, dim) -> the same shape."""
        for _ in range(self.repeats):
            rows = self.layers(rows)
        return rows


class LSTMEncoder(nn.Module):
    """One-layer bidirectional LSTM over a prompt's rows (PRE's default).

    Args:
        dim: row width, even; each direction has half of it.

    Example:
        >>> LSTMEncoder(16)(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(dim, dim // 2, batch_first=True, bidirectional=True)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (sequences, n, dim) -> the same shape."""
        return self.lstm(rows)[0]


class ProjectorEncoder(nn.Module):
    """MISA's warm-up projector, ``W2 relu(LN(W1 P + b1)) + b2`` per row.

    The hidden layer has an eighth of the width.

    Args:
        dim: row width, at least 8.

    Example:
        >>> ProjectorEncoder(16)(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(dim, dim // 8)
        self.norm = nn.LayerNorm(dim // 8)
        self.up = nn.Linear(dim // 8, dim)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows (sequences, n, dim) -> the same shape."""
        return self.up(torch.relu(self.norm(self.down(rows))))

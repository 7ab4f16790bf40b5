"""Encoders through which prompts pass while they are learned."""

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
    """``LN(W2 act(W1 P + b1) + b2)``, row by row (PRE's MLP1).

    Args:
        dim: width of a row.
        bottleneck: width of the hidden layer.
        activation: of the hidden layer.
        repeats: times the same weights are applied. PRE's "MLP2" is of that kind: its second half
            *is* its first.

    Example:
        >>> MLPEncoder(16, bottleneck=4)(torch.randn(2, 5, 16)).shape
        torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        dim: int,
        *,
        bottleneck: int = 64,
        activation: Activation = "relu",
        repeats: int = 1,
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
        # LN(W2 act(W1 P + b1) + b2)
        for _ in range(self.repeats):
            rows = self.layers(rows)
        return rows


class LSTMEncoder(nn.Module):
    """A one-layer bidirectional LSTM over the rows of a prompt, half the width each way (PRE's
    default).

    Args:
        dim: width of a row, even.

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
    """``W2 relu(LN(W1 P + b1)) + b2`` with a hidden layer of an eighth of the width, row by row:
    the projector through which MISA's prompts pass in their warm-up.

    Args:
        dim: width of a row, at least 8.

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
        # W2 relu(LN(W1 P + b1)) + b2
        return self.up(torch.relu(self.norm(self.down(rows))))

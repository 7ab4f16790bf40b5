"""Heads: linear, cosine, unit rows."""

from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.prompts.selectors import unit_rows

#: Replaces -inf for Avalanche's losses and metrics, which need a finite number.
FINITE_MASK = -1e4

#: Initial values of head rows.
RowInit = Literal["uniform", "small"]


class LinearHead(nn.Linear):
    """Linear head with one row per data-set label.

    Args:
        dim: feature width.
        n_classes: columns of the logits.
        initial: ``"small"``: weights from a truncated normal of std 0.02 and biases 0, as in ViTs;
            ``"uniform"``: both U(-1/sqrt(dim), 1/sqrt(dim)), torch's default.

    Example:
        >>> LinearHead(16, 5)(torch.randn(3, 16)).shape
        torch.Size([3, 5])
    """

    class_axes: ClassVar = {"weight": 0, "bias": 0}

    def __init__(self, dim: int, n_classes: int, initial: RowInit = "small") -> None:
        super().__init__(dim, n_classes)
        self.initial = initial
        if initial == "small":
            nn.init.trunc_normal_(self.weight, std=0.02)
            nn.init.zeros_(self.bias)

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the rows of new classes."""
        if self.initial == "uniform":
            rows.uniform_(-(self.in_features**-0.5), self.in_features**-0.5)
        elif name == "weight":
            nn.init.trunc_normal_(rows, std=0.02)

    def grown(self) -> None:
        """Update the number of columns."""
        self.out_features = len(self.weight)


def uniform_rows(rows: Tensor) -> Tensor:
    """Fill rows (..., dim) from U(-1/sqrt(dim), 1/sqrt(dim)), in place."""
    bound = rows.shape[-1] ** -0.5
    return rows.uniform_(-bound, bound)


class CosineHead(nn.Module):
    """Cosine head, ``z_c = cos(f, W_c) / tau`` without bias.

    SinglePrompt (2026, arXiv 2604.04420) fixes tau at 0.1. APER and EASE (CVPR 2024, arXiv
    2403.12030) learn the factor, ``z_c = sigma cos(f, W_c)`` from sigma = 1: ``tau=None``. Gradient
    flows through both norms. It is inversely proportional to the length of a row, unlike Adam's
    steps, so short rows turn faster.

    Args:
        dim: feature width.
        n_classes: columns of the logits.
        tau: temperature; None learns the factor ``sigma``.
        initial: ``"uniform"``: U(-1/sqrt(dim), 1/sqrt(dim)) as published; ``"small"``: a truncated
            normal of std 0.02.

    Example:
        >>> head = CosineHead(16, 5)
        >>> logits = head(torch.randn(3, 16))
        >>> bool((logits.abs() <= 10).all())
        True
    """

    class_axes: ClassVar = {"weight": 0}
    sigma: Tensor

    def __init__(
        self, dim: int, n_classes: int, *, tau: float | None = 0.1, initial: RowInit = "uniform"
    ) -> None:
        super().__init__()
        self.initial = initial
        self.weight = nn.Parameter(uniform_rows(torch.empty(n_classes, dim)))
        if initial == "small":
            nn.init.trunc_normal_(self.weight, std=0.02)
        if tau is None:
            self.sigma = nn.Parameter(torch.ones(()))
        else:
            self.register_buffer("sigma", torch.tensor(1 / tau), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> logits (batch, classes)."""
        cosine = unit_rows(features) @ unit_rows(self.weight).T
        return self.sigma * cosine

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the rows of new classes."""
        if self.initial == "small":
            nn.init.trunc_normal_(rows, std=0.02)
        else:
            uniform_rows(rows)


class UnitRowHead(nn.Module):
    """Head of additive prompts (ICCV 2025, arXiv 2503.07979).

    ``z_c = LN(f) . W_c / ||W_c||`` with a LayerNorm without parameters, so ``|z_c| <= sqrt(dim)``.

    Args:
        dim: feature width.
        n_classes: columns of the logits.

    Example:
        >>> head = UnitRowHead(16, 5)
        >>> bool((head(torch.randn(3, 16)).abs() <= 4).all())
        True
    """

    class_axes: ClassVar = {"weight": 0}

    def __init__(self, dim: int, n_classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(uniform_rows(torch.empty(n_classes, dim)))
        self.dim = dim  # a plain number, a constant in exported graphs

    def forward(self, features: Tensor) -> Tensor:
        """Features (batch, dim) -> logits (batch, classes)."""
        normed = F.layer_norm(features, (self.dim,))
        return normed @ unit_rows(self.weight).T

    def fresh(self, name: str, rows: Tensor) -> None:
        """Initialise the rows of new classes."""
        uniform_rows(rows)

"""Forgetting-aware minimisation: optimizer steps robust to training on other data."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer

TINY = 1e-12


class ForgettingAware:
    """Forgetting-aware minimisation around any optimizer (MISA, ICLR 2025, arXiv 2503.00677).

    Sharpness-aware minimisation whose ascent comes from *other* data: with g_o the gradient of the
    loss on held-out classes, ``theta~ = theta + rho g_o / (||g_o|| + 1e-12)``; the gradient of the
    main loss is taken at theta~ and applied at theta. The norm is over all parameters that have a
    gradient. A step costs two forward and backward passes::

        fam.zero_grad()
        loss(other).backward()
        fam.ascend()
        loss(main).backward()
        fam.step()

    Args:
        optimizer: makes the step.
        rho: length of the ascent; 0 is the plain optimizer.

    Example:
        >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
        >>> fam = ForgettingAware(torch.optim.SGD([theta], lr=0.1), rho=0.5)
        >>> theta.sum().backward()
        >>> fam.ascend()
        >>> theta.data
        tensor([1.5000])
        >>> theta.square().sum().backward()
        >>> fam.step()
        >>> theta.data  # 1 - 0.1 * 2 * 1.5
        tensor([0.7000])
    """

    def __init__(self, optimizer: Optimizer, rho: float = 0.1) -> None:
        self.optimizer = optimizer
        self.rho = rho
        self.before: list[tuple[Tensor, Tensor]] = []

    def zero_grad(self) -> None:
        """Clear the gradients."""
        self.optimizer.zero_grad()

    @torch.no_grad()
    def ascend(self) -> None:
        """Move along the gradients of the loss on other data, and clear them."""
        moving = [
            p
            for group in self.optimizer.param_groups
            for p in group["params"]
            if p.grad is not None
        ]
        if moving:
            # theta~ = theta + rho g_o / (||g_o|| + 1e-12), the norm over all parameters
            norms = torch.stack([p.grad.norm() for p in moving])
            factor = self.rho / (norms.norm() + TINY)
            for p in moving:
                self.before.append((p, p.detach().clone()))
                p.add_(p.grad * factor)
        self.zero_grad()

    @torch.no_grad()
    def step(self) -> None:
        """Undo the ascent, and make an optimizer step with the gradients of the main loss."""
        for p, values in self.before:
            p.copy_(values)
        self.before = []
        self.optimizer.step()

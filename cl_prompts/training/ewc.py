"""EWC++: importance of each parameter, and a quadratic penalty on moving it."""

from collections.abc import Iterator
from copy import deepcopy

import torch
from torch import Tensor, nn

from cl_prompts.state import State

PARTS = ("fisher", "importance", "anchor")


class OnlineEWC:
    """EWC++ (Chaudhry et al., ECCV 2018, arXiv 1801.10112): online Fisher diagonal and one
    quadratic anchor.

    A step, with ``optimizer.zero_grad()`` before it::

        loss.backward()
        ewc.observe_gradients()     # F <- ema F + (1 - ema) grad^2; the first value is grad^2
        ewc.add_penalty_gradient()
        optimizer.step()

    and :meth:`consolidate` at the end of a task or, on a task-free stream, at a fixed period of
    samples: the importance becomes the current Fisher, the anchor the current parameters. Both are
    overwritten, so memory use is constant. Until then the penalty is zero.

    As in the published code the squared gradient is that of the batch's mean loss, not the mean of
    per-sample squares. Deviations from the published Si-Blurry code: it takes all parameters *but
    the last two tensors*, which for a frozen ViT with a trained head is none at all (the method
    then is plain replay); here every parameter that requires a gradient takes part. It makes two
    optimiser steps per batch and lets the gradients of the first leak into the second; here there
    is one step on loss + penalty, and the Fisher sees the loss alone. Its unused path-integral
    score is left out.

    Args:
        model: whose parameters that require a gradient are anchored; they are looked up by name at
            each call.
        reg_coef: weight of the penalty.
        ema: share of the old Fisher that a step keeps.

    Example:
        >>> model = nn.Linear(1, 1, bias=False)
        >>> ewc = OnlineEWC(model, reg_coef=0.5)
        >>> (3 * model.weight).sum().backward()
        >>> ewc.observe_gradients()
        >>> ewc.consolidate()
        >>> model.weight.data += 1
        >>> ewc.add_penalty_gradient()
        >>> model.weight.grad.item()  # 3 + 2 * 0.5 * 3^2 * 1
        12.0
    """

    def __init__(self, model: nn.Module, *, reg_coef: float = 100.0, ema: float = 0.5) -> None:
        self.model = model
        self.reg_coef = reg_coef
        self.ema = ema
        self.fisher: dict[str, Tensor] = {}
        self.importance: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}

    @torch.no_grad()
    def observe_gradients(self) -> None:
        """Update the Fisher with the ``.grad`` of every parameter, which must be that of the plain
        loss."""
        for name, p in self._trainable():
            if p.grad is not None:
                square = p.grad.square()
                # F <- ema F + (1 - ema) grad^2
                self.fisher.setdefault(name, square).lerp_(square, 1 - self.ema)

    @torch.no_grad()
    def consolidate(self) -> None:
        """Overwrite importance and anchor with the current Fisher and parameters."""
        self.importance = {name: value.clone() for name, value in self.fisher.items()}
        self.anchor = {name: p.clone() for name, p in self._trainable() if name in self.importance}

    @torch.no_grad()
    def add_penalty_gradient(self) -> None:
        """Add ``2 reg_coef importance (p - anchor)`` to every ``.grad``."""
        for name, p in self._trainable():
            if name not in self.anchor:
                continue
            # d/dp of reg_coef F (p - anchor)^2
            gradient = 2 * self.reg_coef * self.importance[name] * (p - self.anchor[name])
            p.grad = gradient if p.grad is None else p.grad.add_(gradient)

    def state_dict(self) -> State:
        """Fisher, importance and anchor, by parameter name."""
        return {part: deepcopy(getattr(self, part)) for part in PARTS}

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`; tensors go where the model's parameters are."""
        where = {name: p.device for name, p in self.model.named_parameters()}
        for part in PARTS:
            values = {name: value.clone().to(where[name]) for name, value in state[part].items()}
            setattr(self, part, values)

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.model.named_parameters() if p.requires_grad)

"""Groups of an optimizer that follow the trainable parameters of a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer


def update_groups(
    optimizer: Optimizer, model: nn.Module, group_of: Callable[[str], int], *, reset: bool = False
) -> None:
    """Register new trainable parameters, each in its group, and drop frozen ones; the state of the
    others is kept unless ``reset``.

    Groups are in the order of the model, whatever came when: PyTorch saves by place.

    Args:
        optimizer: of the model's trainable parameters.
        model: that is trained.
        group_of: number of the group of a parameter, by its name.
        reset: drop all state.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> optimizer = torch.optim.SGD([{"params": []}], lr=0.1)
        >>> update_groups(optimizer, model, lambda name: 0)
        >>> [tuple(parameter.shape) for parameter in optimizer.param_groups[0]["params"]]
        [(1, 2), (1,)]
    """
    named = dict(model.named_parameters())
    trainable = {id(p): name for name, p in named.items() if p.requires_grad}
    groups: list[dict[str, Any]] = optimizer.param_groups
    # What was fixed leaves, since momentum and weight decay would go on moving it.
    for group in groups:
        group["params"] = [p for p in group["params"] if id(p) in trainable]
    known = {id(p) for group in groups for p in group["params"]}
    for key, name in trainable.items():
        if key not in known:
            # A group that a method knows of is missing where another optimizer was given.
            groups[min(group_of(name), len(groups) - 1)]["params"].append(named[name])
    place = {key: number for number, key in enumerate(trainable)}
    for group in groups:
        group["params"].sort(key=lambda parameter: place[id(parameter)])
    for parameter in list(optimizer.state):
        if reset or id(parameter) not in trainable:
            del optimizer.state[parameter]


def count_writes(optimizer: Optimizer) -> None:
    """Count a step among the writes into each parameter, by which caches go: torch's fused
    optimizers do not."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.grad is not None:
                torch.autograd.graph.increment_version(parameter)

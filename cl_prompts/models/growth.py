"""Growth of modules: further entries along the axes that count classes or tasks.

A module says in ``class_axes`` which axis of a parameter or buffer has one entry for each class,
and in ``task_axes`` which one has an entry for each task; all else has neither. New entries are
zero, unless the module's ``fresh(name, rows)`` fills them; lists of parts get another one by its
``add_task()``. In the end its ``grown()`` is called. A plugin may declare and have the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from zlib import crc32

import torch
from torch import Tensor, nn

from cl_prompts.training.seeds import derived_seed, seeded

Axes = Literal["class_axes", "task_axes"]
HOOKS = ("add_task", "grown")


@torch.no_grad()
def grow_parts(
    parts: Iterable[Any], axes: Axes, n: int, *, first: int, seed: int
) -> dict[nn.Parameter, nn.Parameter]:
    """Add entries to all parts, in place.

    Args:
        parts: modules, without their submodules, and other owners of tensors.
        axes: which of the declared axes.
        n: entries to add.
        first: number of the first of them. What an entry begins with depends on its number and
            ``seed`` alone.
        seed: of the initial values.

    Returns:
        The parameters that were replaced, each with the one in its place.

    Example:
        >>> head = nn.Linear(4, 3)
        >>> head.class_axes = {"weight": 0, "bias": 0}
        >>> before = head.weight
        >>> replaced = grow_parts([head], "class_axes", 2, first=3, seed=1)
        >>> tuple(replaced[before].shape), head.weight is replaced[before]
        ((5, 4), True)
    """
    parts = [part for part in parts if any(hasattr(part, name) for name in (axes, *HOOKS))]
    replaced: dict[nn.Parameter, nn.Parameter] = {}
    for part in parts:
        declared: Mapping[str, int] = getattr(part, axes, {})
        for name, axis in declared.items():
            value = getattr(part, name, None)
            if value is None:
                continue
            larger = _larger(part, name, value, axis, n)
            setattr(part, name, larger)
            if isinstance(value, nn.Parameter):
                replaced[value] = larger
    for i in range(first, first + n):
        for part in parts:
            # By kind: a copy of a part, such as a teacher, begins as the part does.
            kind = crc32(type(part).__name__.encode())
            with seeded(derived_seed(seed, i) + kind):
                _fill(part, getattr(part, axes, {}), i - first - n)
                if axes == "task_axes" and hasattr(part, "add_task"):
                    part.add_task()
    for part in parts:
        if hasattr(part, "grown"):
            part.grown()
    return replaced


def _larger(part: Any, name: str, value: Tensor, axis: int, n: int) -> Any:
    # What is not saved is computed again from what is.
    if name in getattr(part, "_non_persistent_buffers_set", ()):
        return None
    shape = [size + n if i == axis else size for i, size in enumerate(value.shape)]
    larger = padded(value, shape)
    if isinstance(value, nn.Parameter):
        return nn.Parameter(larger, requires_grad=value.requires_grad)
    return larger


def _fill(part: Any, declared: Mapping[str, int], place: int) -> None:
    """Fill the new entries at a place, counted from the end."""
    for name, axis in declared.items() if hasattr(part, "fresh") else ():
        value = getattr(part, name, None)
        if value is not None:
            entry = value.data.narrow(axis, value.shape[axis] + place, 1)
            # On the CPU, so that all devices draw the same.
            rows = torch.zeros(entry.shape, dtype=entry.dtype)
            part.fresh(name, rows)
            entry.copy_(rows)


def padded(value: Tensor, shape: Sequence[int]) -> Tensor:
    """A copy of a tensor in the first corner of zeros of another shape.

    >>> padded(torch.ones(1, 2), (2, 3))
    tensor([[1., 1., 0.],
            [0., 0., 0.]])
    """
    larger = value.new_zeros(shape)
    larger[tuple(slice(size) for size in value.shape)] = value.detach()
    return larger

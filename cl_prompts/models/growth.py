"""Growth of modules along the axes that count classes or tasks.

``class_axes`` of a module names the axis of each parameter or buffer with one entry per class,
``task_axes`` that with one entry per task. New entries are zero, or initialised by ``fresh(name,
rows)``. ``add_task()`` appends to lists of parts, and ``grown()`` is called last. Plugins may
define the same attributes.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal
from zlib import crc32

import torch
from torch import Tensor, nn

from cl_prompts.seeds import derived_seed, seeded

Axes = Literal["class_axes", "task_axes"]
HOOKS = ("add_task", "grown")


@torch.no_grad()
def grow_parts(
    parts: Iterable[object], axes: Axes, n: int, *, first: int, seed: int
) -> dict[nn.Parameter, nn.Parameter]:
    """Add entries to all parts, in place.

    Args:
        parts: modules, without their submodules, and other owners of tensors.
        axes: which of the declared axes.
        n: entries to add.
        first: number of the first new entry. Its initial value depends only on its number and
            ``seed``.
        seed: of the initial values.

    Returns:
        replaced parameter -> new parameter.

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
            # Non-persistent buffers are computed from others.
            if name in getattr(part, "_non_persistent_buffers_set", ()):
                setattr(part, name, None)
                continue
            shape = [size + n if i == axis else size for i, size in enumerate(value.shape)]
            larger = padded(value, shape)
            if isinstance(value, nn.Parameter):
                replaced[value] = larger = nn.Parameter(larger, value.requires_grad)
            setattr(part, name, larger)
    for i in range(first, first + n):
        for part in parts:
            # By type, so that a copy of a part, such as a teacher, gets the same values.
            kind = crc32(type(part).__name__.encode())
            with seeded(derived_seed(seed, i) + kind):
                _fill(part, getattr(part, axes, {}), i - first - n)
                if axes == "task_axes" and hasattr(part, "add_task"):
                    part.add_task()
    for part in parts:
        if hasattr(part, "grown"):
            part.grown()
    return replaced


def _fill(part: Any, declared: Mapping[str, int], place: int) -> None:
    """Initialise the new entry at a place counted from the end."""
    for name, axis in declared.items() if hasattr(part, "fresh") else ():
        value = getattr(part, name, None)
        if value is not None:
            entry = value.data.narrow(axis, value.shape[axis] + place, 1)
            # On the CPU, so that all devices draw the same values.
            rows = torch.zeros(entry.shape, dtype=entry.dtype)
            part.fresh(name, rows)
            entry.copy_(rows)


def padded(value: Tensor, shape: Sequence[int]) -> Tensor:
    """Copy a tensor into the first corner of zeros of another shape.

    >>> padded(torch.ones(1, 2), (2, 3))
    tensor([[1., 1., 0.],
            [0., 0., 0.]])
    """
    larger = value.new_zeros(shape)
    larger[tuple(slice(size) for size in value.shape)] = value.detach()
    return larger

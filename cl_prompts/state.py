"""State of objects, as checkpoints hold it: attributes by name."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

#: tensors and plain values
State = dict[str, Any]


@dataclass(eq=False, repr=False)
class Registered:
    """Names of the attributes that checkpoints hold, as the buffers of a module.

    A value may be a tensor, a generator, a plain value such as a number, a list or None, or
    any object with ``state_dict`` and ``load_state_dict``.

    Attributes:
        owner: object that has the attributes.
        names: of the attributes.

    Example:
        >>> from types import SimpleNamespace
        >>> counter = SimpleNamespace(n=3)
        >>> state = Registered(counter)
        >>> state.add("n")
        >>> saved = state.state_dict()
        >>> counter.n = 0
        >>> state.load_state_dict(saved)
        >>> counter.n
        3
    """

    owner: object
    names: list[str] = field(default_factory=list)

    def add(self, *names: str) -> None:
        """Register attributes."""
        self.names += names

    def state_dict(self) -> State:
        """Copy the values, as tensors and plain values."""
        return {name: _saved(getattr(self.owner, name)) for name in self.names}

    def load_state_dict(self, state: State) -> None:
        """Restore a state; tensors move to the device of the present ones."""
        for name in self.names:
            value = getattr(self.owner, name)
            # A copy, since a state may be loaded more than once.
            saved = deepcopy(state[name])
            if isinstance(value, torch.Generator):
                value.set_state(saved)
            elif hasattr(value, "load_state_dict"):
                value.load_state_dict(saved)
            elif isinstance(value, Tensor) and isinstance(saved, Tensor):
                setattr(self.owner, name, saved.to(value.device))
            else:
                setattr(self.owner, name, saved)


def _saved(value: object) -> object:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value.clone()
    return deepcopy(value.state_dict() if hasattr(value, "state_dict") else value)


class Stateful:
    """Base of objects whose state is some of their attributes, see :class:`Registered`.

    Example:
        >>> class Counter(Stateful):
        ...     state = ("n",)
        ...     n = 3
        >>> Counter().state_dict()
        {'n': 3}
    """

    state: ClassVar[tuple[str, ...]]
    """Names of the attributes."""

    def state_dict(self) -> State:
        """Copy the state, as tensors and plain values."""
        return Registered(self, list(self.state)).state_dict()

    def load_state_dict(self, state: State) -> None:
        """Inverse of :meth:`state_dict`."""
        Registered(self, list(self.state)).load_state_dict(state)

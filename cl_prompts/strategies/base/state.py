"""State of strategies and plugins, registered by name where it is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from cl_prompts.backbones.fingerprint import backbone_hash
from cl_prompts.errors import InputError
from cl_prompts.strategies.base.experience import classes_of


@dataclass(eq=False, repr=False)
class Registered:
    """State that is saved under the names of attributes, as the buffers of a module are.

    A value may be a tensor, a generator, a plain value such as a number, a list or None, or
    anything with ``state_dict`` and ``load_state_dict``.

    Attributes:
        owner: whose attributes they are.
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

    owner: Any
    names: list[str] = field(default_factory=list)

    def add(self, *names: str) -> None:
        """Register attributes."""
        self.names += names

    def state_dict(self) -> dict[str, Any]:
        """Copies of the values, as tensors and plain values."""
        return {name: _saved(getattr(self.owner, name)) for name in self.names}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Inverse of :meth:`state_dict`; tensors go to the device of those that they replace.

        Raises:
            InputError: the state has other names.
        """
        if set(state) != set(self.names):
            wrong = ", ".join(sorted(set(state) ^ set(self.names)))
            raise InputError(
                f"the saved state of {type(self.owner).__name__} does not fit: {wrong} differ"
            )
        for name in self.names:
            value = getattr(self.owner, name)
            # A copy, since a state may be loaded several times.
            saved = deepcopy(state[name])
            if isinstance(value, torch.Generator):
                value.set_state(saved)
            elif hasattr(value, "load_state_dict"):
                value.load_state_dict(saved)
            elif isinstance(value, Tensor) and isinstance(saved, Tensor):
                setattr(self.owner, name, saved.to(value.device))
            else:
                setattr(self.owner, name, saved)


def _saved(value: Any) -> Any:
    if isinstance(value, torch.Generator):
        return value.get_state()
    if isinstance(value, Tensor):
        return value.clone()
    return deepcopy(value.state_dict() if hasattr(value, "state_dict") else value)


def strategy_state(
    strategy: Any, inside: dict[str, Any] | None, epoch_order: Tensor
) -> dict[str, Any]:
    """Copies of the state of a strategy and of its plugins, as tensors and plain values.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        inside: place in the current experience; None where it is finished.
        epoch_order: state of the generator from which the order of the current epoch was drawn.
    """
    # What is frozen comes again in later epochs and in replay alone.
    again = strategy.train_epochs > 1 or strategy.buffer.size > 0
    cache_keys = strategy.model.cache_keys() if again else {}
    return {
        # Copies, since a state that is kept must be of one moment, whatever is trained afterwards.
        "model": deepcopy(strategy.model.learned_state()),
        "optimizer": deepcopy(strategy.optimizer.state_dict()),
        "registered": strategy.state.state_dict(),
        "plugins": [
            [type(p).__name__, deepcopy(p.state_dict())] for p in with_state(strategy.plugins)
        ],
        "backbone": backbone_hash(strategy.model.backbone),
        "buffer": strategy.buffer.state_dict(),
        "sources": strategy.replay.n_sources,
        "samples_of_task": strategy.task_position.samples,
        # Inside an epoch: the state that its order was drawn from, to draw the same again.
        "shuffler": strategy.shuffler.get_state() if inside is None else epoch_order,
        "place": inside,
        "experiences": strategy.clock.train_exp_counter,
        "clock": {name: n for name, n in vars(strategy.clock).items() if isinstance(n, int)},
        "feature_cache": strategy.feature_cache.state_dict(cache_keys),
    }


def load_strategy_state(strategy: Any, state: dict[str, Any], experiences: Sequence[Any]) -> None:
    """Inverse of :func:`strategy_state`.

    Raises:
        InputError: another backbone, other plugins, or too few experiences for the replay buffer.
    """
    strategy.model.check_backbone(state["backbone"], "the saved state")
    plugins = with_state(strategy.plugins)
    names = [type(plugin).__name__ for plugin in plugins]
    saved = [name for name, _ in state["plugins"]]
    if names != saved:
        raise InputError(
            f"the saved state has plugins {', '.join(saved) or 'none'}, and this strategy has"
            f" {', '.join(names) or 'none'}: make it with the same plugins"
        )
    n_classes = strategy.model.n_classes
    strategy.replay.restore(state, [(e, classes_of(e, n_classes)) for e in experiences])
    # The model before cache and optimizer, which go by its parameters.
    strategy.model.load_learned_state(state["model"])
    cache_keys = strategy.model.cache_keys()
    strategy.feature_cache.load_state_dict(state["feature_cache"], cache_keys, strategy.device)
    # The model may have grown in loading: its new parameters need a place in a group.
    strategy.make_optimizer()
    # PyTorch's optimizers go on with the tensors that they are given.
    strategy.optimizer.load_state_dict(deepcopy(state["optimizer"]))
    strategy.shuffler.set_state(state["shuffler"])
    strategy.state.load_state_dict(state["registered"])
    strategy.task_position.samples = int(state["samples_of_task"])
    for name, count in state["clock"].items():
        setattr(strategy.clock, name, count)
    strategy.place = deepcopy(state["place"])
    for plugin, (_, own) in zip(plugins, state["plugins"], strict=True):
        plugin.load_state_dict(deepcopy(own))


def with_state(plugins: Sequence[Any]) -> list[Any]:
    """Plugins whose state is saved, in their order."""
    both = ("state_dict", "load_state_dict")
    return [p for p in plugins if all(callable(getattr(p, name, None)) for name in both)]

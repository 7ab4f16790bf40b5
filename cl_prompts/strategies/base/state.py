"""State of a strategy and its plugins: checkpoints, their bytes, and a buffer that fits a limit."""

from collections.abc import Collection, Sequence
from copy import deepcopy
from typing import Any

import torch
from avalanche.benchmarks import CLExperience
from avalanche.core import BasePlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor

from cl_prompts.backbones.weight_files import backbone_hash
from cl_prompts.errors import InputError
from cl_prompts.state import State
from cl_prompts.strategies.base.experience import classes_of


def strategy_state(strategy: SupervisedTemplate) -> State:
    """Copy the state of a strategy and its plugins, as tensors and plain values."""
    loop = strategy.loop
    # Cached features are read again only in later epochs and in replay.
    again = strategy.train_epochs > 1 or strategy.buffer.size > 0
    cache_keys = strategy.model.cache_keys() if again else {}
    return {
        # Copies, so that further training does not change the state.
        "model": deepcopy(strategy.model.learned_state()),
        "optimizer": deepcopy(strategy.optimizer.state_dict()),
        "registered": strategy.state.state_dict(),
        "plugins": [
            [type(p).__name__, deepcopy(p.state_dict())] for p in with_state(strategy.plugins)
        ],
        "backbone": backbone_hash(strategy.model.backbone),
        "buffer": strategy.buffer.state_dict(),
        "sources": strategy.replay.n_sources,
        "samples_of_task": loop.task.samples,
        "cost": loop.cost.state_dict(),
        # Inside an epoch: the state before its order was drawn, to draw the same order.
        "shuffler": strategy.shuffler.get_state() if loop.inside is None else loop.epoch_order,
        "place": loop.inside,
        "experiences": strategy.clock.train_exp_counter,
        "clock": {name: n for name, n in vars(strategy.clock).items() if isinstance(n, int)},
        "feature_cache": strategy.feature_cache.state_dict(cache_keys),
    }


def load_strategy_state(
    strategy: SupervisedTemplate, state: State, experiences: Sequence[CLExperience]
) -> None:
    """Restore what :func:`strategy_state` returned.

    Raises:
        InputError: the backbone differs.
    """
    strategy.model.check_backbone(state["backbone"], "the saved state")
    n_classes = strategy.model.n_classes
    strategy.replay.restore(state, [(e, classes_of(e, n_classes)) for e in experiences])
    # The model first: cache and optimizer refer to its parameters.
    strategy.model.load_learned_state(state["model"])
    cache_keys = strategy.model.cache_keys()
    strategy.feature_cache.load_state_dict(state["feature_cache"], cache_keys, strategy.device)
    # Loading may have added parameters, which need an optimizer group.
    strategy.make_optimizer()
    # A copy, since PyTorch's optimizers use the given tensors.
    strategy.optimizer.load_state_dict(deepcopy(state["optimizer"]))
    strategy.shuffler.set_state(state["shuffler"])
    strategy.state.load_state_dict(state["registered"])
    strategy.loop.restore(state)
    for plugin, (_, own) in zip(with_state(strategy.plugins), state["plugins"], strict=True):
        plugin.load_state_dict(deepcopy(own))


def with_state(plugins: Sequence[BasePlugin]) -> list[BasePlugin]:
    """Return the plugins that have state, in order."""
    both = ("state_dict", "load_state_dict")
    return [p for p in plugins if all(callable(getattr(p, name, None)) for name in both)]


def memory_of(
    strategy: SupervisedTemplate, without: Collection[BasePlugin | None] = ()
) -> dict[str, int]:
    """Count what a strategy stores besides the backbone.

    Args:
        strategy: the strategy.
        without: plugins that are not part of the method.

    Returns:
        ``samples`` in the buffer; ``numbers`` that are not trained parameters; and the ``bytes`` of
            all: numbers, the optimizer's own, and samples as uint8 images of the ViT's size.
    """
    model = strategy.model
    stored = [model.learned_state(), strategy.state.state_dict(), strategy.buffer.state_dict()]
    stored += [p.state_dict() for p in with_state(strategy.plugins) if p not in without]
    numbers = sum(part.numel() for part in _floats(stored)) - model.n_learned
    floats = _floats([*stored, strategy.optimizer.state_dict()["state"]])
    total = len(strategy.buffer) * _image(strategy) + sum(part.nbytes for part in floats)
    return {"samples": len(strategy.buffer), "numbers": numbers, "bytes": total}


def buffer_within(
    limit: int, strategy: SupervisedTemplate, without: Collection[BasePlugin | None] = ()
) -> int:
    """Return the number of samples that fit a limit in bytes; 0 for a strategy without a buffer.

    Args:
        limit: bytes of all that :func:`memory_of` counts.
        strategy: before training, with any buffer size above 0 if it has a buffer.
        without: see :func:`memory_of`.

    Raises:
        InputError: the limit is below what the strategy stores, with one sample if it has a buffer.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import ER
        >>> er = ER(backbone=create_backbone(), n_classes=10, evaluator=None, device="cpu")
        >>> buffer_within(100_000, er)  # a head and Adam's two copies of it; images of 32 px
        27
    """
    size, name = strategy.buffer.size, type(strategy).__name__
    if strategy.whole_stream:
        raise InputError(f"memory limits what a stream leaves, and {name} stores it all")
    stored = _floats([strategy.state.state_dict(), strategy.buffer.state_dict()])
    # What is stored beside each sample, such as its logits.
    beside = sum(part.nbytes for part in stored if size and part.dim() and len(part) == size)
    each = _image(strategy) + beside // max(1, size)
    trained = sum(part.nbytes for part in strategy.model.parameters() if part.requires_grad)
    copies = trained * sum(getattr(plugin, "copies", 0) for plugin in strategy.plugins)
    own = memory_of(strategy, without)["bytes"] + copies + _after_a_step(strategy.optimizer)
    fixed = own - beside
    needed = fixed + each * bool(size)
    if limit < needed:
        found = f"memory is {limit:,} bytes, and {name} needs {needed:,}"
        raise InputError(f"{found}: give at least that")
    return (limit - fixed) // each if size else 0


def _after_a_step(optimizer: torch.optim.Optimizer) -> int:
    """Bytes of an optimizer's own numbers, which it makes in its first step."""
    copy = deepcopy(optimizer)
    for group in copy.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    copy.step()
    return sum(part.nbytes for part in _floats(copy.state_dict()["state"]))


def _image(strategy: SupervisedTemplate) -> int:
    return 3 * int(strategy.model.backbone.image_size) ** 2


def _floats(state: Any) -> list[Tensor]:
    """Floating-point tensors of a state."""
    if isinstance(state, Tensor):
        return [state] if state.is_floating_point() else []
    parts = state.values() if isinstance(state, dict) else state
    nested = isinstance(state, dict | list | tuple)
    return [found for part in parts for found in _floats(part)] if nested else []

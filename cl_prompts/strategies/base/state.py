"""Checkpoint state of a strategy and its plugins."""

from collections.abc import Sequence
from copy import deepcopy

from avalanche.benchmarks import CLExperience
from avalanche.core import BasePlugin
from avalanche.training.templates import SupervisedTemplate

from cl_prompts.backbones.weight_files import backbone_hash
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

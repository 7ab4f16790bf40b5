"""Avalanche's conventions and ours: constructor arguments, evaluators, plugins."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin, LRSchedulerPlugin, ReplayPlugin
from avalanche.training.plugins.evaluation import default_evaluator
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from cl_prompts.checks import shown
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics
from cl_prompts.strategies.base.plugin import StrategyPlugin

#: arguments of ``train`` that go to the data loader
LOADER_ARGUMENTS = {
    "num_workers",
    "shuffle",
    "pin_memory",
    "persistent_workers",
    "prefetch_factor",
    "timeout",
    "multiprocessing_context",
}

#: arguments of Avalanche's strategies -> what to do instead
INSTEAD = {
    "criterion": "leave it out, since each method has its own loss (override training_loss for"
    " another)",
    "mem_size": "give buffer_size, the samples in the replay buffer",
    "batch_size_mem": "give buffer_batch_size, the replayed samples of a batch",
    "peval_mode": "leave it out, and use AnytimeEvaluation to evaluate by samples",
    "task_balanced_dataloader": "leave it out, since task labels are not used",
}


def refuse_foreign_arguments(learner: str, positional: Sequence[Any], names: Iterable[str]) -> None:
    """Refuse a construction in Avalanche's manner, ``Strategy(model, optimizer, criterion)``.

    >>> refuse_foreign_arguments("MVP", (), ["lr", "criterion"])
    Traceback (most recent call last):
    cl_prompts.errors.InputError: MVP takes no criterion=: leave it out, since each method has its \
own loss (override training_loss for another)

    Args:
        learner: name of the strategy.
        positional: arguments that were given by position.
        names: of those that were given by name.

    Raises:
        InputError: the first of them that the package does not take.
    """
    if positional:
        raise InputError(
            f"{learner} takes its settings by name: give backbone= and n_classes=, and optimizer="
            " if Adam with lr= will not do; it has its own loss"
        )
    for name in names:
        if name in INSTEAD:
            raise InputError(f"{learner} takes no {name}=: {INSTEAD[name]}")


def check_optimizer(optimizer: Any) -> None:
    """Refuse an optimizer that cannot train here.

    Raises:
        InputError: no optimizer of torch's, or one that asks for the loss itself.
    """
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"optimizer is {shown(optimizer)}: give one of torch.optim, or lr= for Adam's rate"
        )
    if isinstance(optimizer, LBFGS):
        raise InputError("LBFGS computes the loss several times a step: give another optimizer")


def no_criterion(*_: Any) -> Tensor:
    """Stand where Avalanche's plugins find the loss, for images of several labels.

    Raises:
        InputError: a plugin, such as EWCPlugin or AGEMPlugin, asked for it.
    """
    raise InputError(
        "a plugin of Avalanche's asks for the loss of one class per image, and these have several"
        " labels: leave it out, or take an option of cl_prompts.strategies, such as EWC"
    )


def refuse_second_schedule(learner: str, plugins: Iterable[Any]) -> None:
    """Refuse a plugin that sets rates where the strategy sets them, too.

    Raises:
        InputError: there is one.
    """
    if any(isinstance(plugin, LRSchedulerPlugin) for plugin in plugins):
        raise InputError(
            f"{learner} sets its learning rate by a schedule, and so does LRSchedulerPlugin: leave"
            " one of the two out"
        )


def check_model(learner: str, model: Any) -> None:
    """Refuse a model that is not one of this package's, such as a network for Avalanche's Naive.

    Raises:
        InputError: another kind of model.
    """
    if not isinstance(model, ContinualModel):
        raise InputError(
            f"model= is a {type(model).__name__}: {learner} trains the models of cl_prompts.models"
            " on a frozen ViT, so give backbone= and n_classes= instead"
        )


def refuse_overlap(experiences: Sequence[Any]) -> None:
    """Raise ``InputError`` if these are several test sets that share images."""
    if len(experiences) > 1 and any(getattr(e, "overlapping", False) for e in experiences):
        raise InputError(
            f"these {len(experiences)} test sets overlap, since each holds the images of those"
            " before it: evaluate one, such as benchmark.test_stream[t] after task t"
        )


def multi_label_evaluator() -> EvaluationPlugin:
    """Avalanche's default evaluator, with multi-label scores instead of accuracy."""
    return EvaluationPlugin(
        loss_metrics(minibatch=False, epoch=True, experience=True, stream=True),
        MultiLabelMetrics(),
        loggers=[InteractiveLogger()],
    )


def silent_evaluator() -> EvaluationPlugin:
    """An evaluator without metrics and loggers."""
    with warnings.catch_warnings():
        # Avalanche warns of an evaluator without loggers, which is meant here.
        warnings.filterwarnings("ignore", message="No loggers specified")
        return EvaluationPlugin()


def chosen_evaluator(given: Any, *, multi_label: bool) -> Any:
    """Avalanche's evaluator for what was given: with scores that are defined for the labels."""
    if given is default_evaluator:
        given = multi_label_evaluator if multi_label else given
    return silent_evaluator if given is None else given


def with_own_plugins(own: Iterable[StrategyPlugin], given: Iterable[Any]) -> list[Any]:
    """Plugins that a method is defined with, and those that it was given; one that was given takes
    the place of the method's own of its class, and the settings that it leaves open."""
    if isinstance(given, Mapping):
        from cl_prompts.strategies import make_plugins  # loads plugins, which load this module

        given = make_plugins(given)
    plugins = list(given)
    for plugin in plugins:
        if isinstance(plugin, str):
            raise InputError(
                f"plugins hold {shown(plugin)}: give plugins, or a mapping of names to settings"
            )
        if getattr(plugin, "claimed", False):
            raise InputError(
                f"this {type(plugin).__name__} belongs to another strategy: make a new one for each"
            )
    # One that is listed twice would act twice in each event.
    kinds = Counter(type(plugin) for plugin in plugins if isinstance(plugin, StrategyPlugin))
    kinds |= Counter(type(plugin) for plugin in plugins if plugins.count(plugin) > 1)
    for kind, times in kinds.items():
        if times > 1:
            raise InputError(f"plugins hold {kind.__name__} {times} times: give it once")
    missing = []
    for default in own:
        same = [plugin for plugin in plugins if isinstance(plugin, type(default))]
        for plugin in same:
            given = plugin.given
            plugin.take({**default.given, **given})
            # What the method adds was not given: another one has values of its own.
            plugin.given = given
        if not same:
            # A new one, since those of the class are shared by all its strategies.
            missing.append(type(default)(**default.given))
    return missing + plugins


#: Avalanche's plugins that cannot act here, and why
_UNFIT = {
    "CoPEPlugin": (
        "it puts a loss and a memory of its own into Avalanche's training loop, which strategies of"
        " this package do not run: give it to Naive"
    ),
    "RWalkPlugin": (
        "in avalanche-lib 0.6 it makes the weights NaN, on Avalanche's own streams, too: leave it"
        " out"
    ),
    "BiCPlugin": (
        "it replaces the data of an experience, which experiences of avalanche-lib 0.6 do not let"
        " it do: leave it out"
    ),
    "FeatureDistillationPlugin": (
        "it reads model.features, which models here do not have: leave it out, or take Distillation"
        " or SelfRegulation of cl_prompts.strategies"
    ),
    "LFLPlugin": (
        "it reads model.get_features, which models here do not have: leave it out, or take"
        " Distillation or SelfRegulation of cl_prompts.strategies"
    ),
    "RARPlugin": "it traces the model, which torch cannot do with a prompted ViT: leave it out",
    "SynapticIntelligencePlugin": (
        "in avalanche-lib 0.6 it compares weights on the CPU with themselves, and holds none: leave"
        " it out, or take EWC of cl_prompts.strategies"
    ),
    "MIRPlugin": (
        "it asks for gradients of all parameters, and those of a ViT here are frozen: leave it out"
    ),
}


#: Avalanche's plugins that take gradients of the loss
_BY_GRADIENTS = {"AGEMPlugin", "EWCPlugin", "GEMPlugin", "MASPlugin"}


def refuse_unfit(plugins: Iterable[Any], method: str, *, gradients: bool) -> None:
    """Refuse plugins of Avalanche's that would do nothing, or harm.

    Args:
        plugins: of a strategy.
        method: its name.
        gradients: whether it learns by them.

    Raises:
        InputError: the first of them.
    """
    for plugin in plugins:
        for kind in type(plugin).__mro__:
            name = kind.__name__ if kind.__module__.startswith("avalanche.") else ""
            if name in _UNFIT:
                raise InputError(f"plugins hold {name}: {_UNFIT[name]}")
            if name in _BY_GRADIENTS and not gradients:
                raise InputError(
                    f"plugins hold {name}: it takes gradients, and {method} learns without any:"
                    " leave it out"
                )


def check_foreign_loader(strategy: Any) -> None:
    """Refuse a loader that a plugin has put in the place of a strategy's own, where the strategy
    cannot tell which samples it shows, or how many.

    Raises:
        InputError: a replay buffer beside it, or another batch size of its own.
    """
    if strategy.buffer_size:
        raise InputError(
            "buffer_size and a plugin that replaces the data loader cannot be combined: use one of"
            " the two"
        )
    for plugin in strategy.plugins:
        size = plugin.batch_size if isinstance(plugin, ReplayPlugin) else None
        if size not in (None, strategy.train_mb_size):
            raise InputError(
                f"batch_size of {type(plugin).__name__} is {size}, and stream samples are counted"
                f" by train_mb_size, {strategy.train_mb_size}: leave it out"
            )


def claim(plugins: Iterable[Any]) -> None:
    """Have plugins of this package belong to the strategy that they were attached to."""
    for plugin in plugins:
        if isinstance(plugin, StrategyPlugin):
            plugin.claimed = True

"""Avalanche's conventions and ours: constructor arguments, evaluators, plugins."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from typing import Any

from avalanche.evaluation.metrics import loss_metrics
from avalanche.logging import InteractiveLogger
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.plugins.evaluation import default_evaluator

from cl_prompts.errors import InputError
from cl_prompts.strategies.base.multi_label_metrics import MultiLabelMetrics
from cl_prompts.strategies.base.plugin import StrategyPlugin


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
    plugins = list(given)
    # One that is listed twice would act twice in each event.
    kinds = Counter(type(plugin) for plugin in plugins if isinstance(plugin, StrategyPlugin))
    for kind, times in kinds.items():
        if times > 1:
            raise InputError(f"plugins hold {kind.__name__} {times} times: give it once")
    missing = []
    for default in own:
        same = [plugin for plugin in plugins if isinstance(plugin, type(default))]
        for plugin in same:
            given = plugin.explicit
            plugin.assign({**default.explicit, **given})
            # What the method adds was not given: another one has values of its own.
            plugin.explicit = given
        if not same:
            # A new one, since those of the class are shared by all its strategies.
            missing.append(type(default)(**default.explicit))
    return missing + plugins

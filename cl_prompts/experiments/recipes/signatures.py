"""Settings of a recipe, read from the signatures of the functions and classes that they set up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from typing import Any, get_type_hints

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.names import is_dotted
from cl_prompts.strategies import strategy_outline
from cl_prompts.strategies.base.outlines import outlined

#: name of a setting -> (type, default); the default is ``...`` where there is none
Parameters = dict[str, tuple[Any, Any]]

#: parameters that the runner fills in
FILLED = {
    "dataset": {"name", "image_size", "seed"},
    "scenario": {"name", "test_labels", "domains", "seed"},
    "backbone": {"name", "seed"},
    "evaluation": {"test", "n_classes", "home_classes", "listeners", "num_workers"},
    "strategy": {
        "model",
        "backbone",
        "n_classes",
        "multi_label",
        "n_tasks",
        "optimizer",
        "evaluator",
        "eval_every",
        "growing",
        "device",
        "seed",
    },
}


def parameters(function: Callable[..., Any], without: Collection[str] = ()) -> Parameters:
    """Parameters of a function or a constructor, or the settings that a strategy declares.

    Raises:
        InputError: an annotation names something that does not exist.
    """
    if hasattr(function, "settings"):
        declared = function.settings().values()
        found = {s.name: (s.kind, s.default) for s in declared}
    else:
        found = _signature(function)
    return {name: parameter for name, parameter in found.items() if name not in without}


def _signature(function: Callable[..., Any]) -> Parameters:
    target = inspect.unwrap(function)
    if isinstance(function, type):
        # Its own constructor or an inherited one; object's takes nothing.
        target = inspect.unwrap(inspect.getattr_static(function, "__init__"))
        if target is object.__init__:
            return {}
    try:
        hints = get_type_hints(target, include_extras=True)
    except NameError as error:
        raise InputError(
            f"the annotations of {target.__module__}.{target.__qualname__} cannot be read: {error}"
        ) from error
    found: Parameters = {}
    for p in inspect.signature(target).parameters.values():
        if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name != "self":
            default = ... if p.default is p.empty else p.default
            found[p.name] = (hints.get(p.name, Any), default)
    return found


def section_parameters(section: str, name: str = "") -> Parameters:
    """Settings of the section ``dataset``, ``scenario``, ``backbone`` or ``evaluation``.

    Args:
        section: its key in a recipe.
        name: of the data set or scenario, short or dotted.

    Raises:
        InputError: there is no such data set or scenario.
    """
    without = FILLED[section]
    if section == "scenario":
        split = outlined("cl_prompts.scenarios.registry", "find_scenario")(name).split
        # The first parameter takes the labels.
        labels = next(iter(parameters(split)), "")
        return parameters(split, {labels, *without})
    if section == "dataset":
        own = outlined("cl_prompts.datasets.registry", "dataset_options")(name)
        common = parameters(outlined("cl_prompts.datasets.registry", "load_dataset"), without)
        if is_dotted(name):
            # Its function takes what it declares; images are checked whoever brings them.
            common = {"on_bad_image": common["on_bad_image"]}
        return {**common, **own}
    if section == "backbone":
        return parameters(outlined("cl_prompts.backbones.weights", "create_backbone"), without)
    plugin = outlined("cl_prompts.strategies.plugins.anytime", "AnytimeEvaluation")
    return parameters(plugin, without)


def strategy_parameters(strategy: str) -> Parameters:
    """Settings of a strategy."""
    return parameters(strategy_outline(strategy), FILLED["strategy"])


def common_parameters() -> Parameters:
    """Settings that all strategies share, but for those that a strategy withdraws."""
    base = outlined("cl_prompts.strategies.base.online", "OnlineStrategy")
    return parameters(base, FILLED["strategy"])


def filled_parameters(strategy: str) -> set[str]:
    """Parameters of a strategy that the runner fills in."""
    return set(parameters(strategy_outline(strategy))) & FILLED["strategy"]

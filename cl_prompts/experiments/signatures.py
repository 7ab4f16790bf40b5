"""Settings of a recipe, read from the signatures of the functions and classes that they set up."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterator
from importlib import import_module
from typing import Any, get_type_hints

from cl_prompts.errors import InputError
from cl_prompts.experiments.names import dataset_function
from cl_prompts.scenarios.registry import find_scenario
from cl_prompts.strategies import strategy_class

#: name of a setting -> (type, default); the default is ``...`` where there is none
Parameters = dict[str, tuple[Any, Any]]

#: parameters that the runner fills in
FILLED = {
    "dataset": {"name", "image_size", "seed"},
    "scenario": {"test_labels", "seed"},
    "backbone": {"name", "seed"},
    "evaluation": {"test", "n_classes", "listeners", "num_workers"},
    "strategy": {
        "model",
        "backbone",
        "n_classes",
        "multi_label",
        "n_tasks",
        "optimizer",
        "plugins",
        "evaluator",
        "eval_every",
        "device",
        "seed",
    },
}


def parameters(function: Callable[..., Any], without: Collection[str] = ()) -> Parameters:
    """Parameters of a function, or of a class and the bases that it passes ``**`` arguments to.

    Args:
        function: a function or class.
        without: parameters to leave out.

    Raises:
        InputError: an annotation names something that does not exist.
    """
    found: Parameters = {}
    for target in _signatures(function):
        try:
            hints = get_type_hints(target)
        except NameError as error:
            raise InputError(
                f"the annotations of {target.__module__}.{target.__qualname__} cannot be read:"
                f" {error}"
            ) from error
        for p in inspect.signature(target).parameters.values():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL) or p.name in ("self", *without):
                continue
            default = ... if p.default is p.empty else p.default
            found.setdefault(p.name, (hints.get(p.name, Any), default))
    return found


def _signatures(function: Callable[..., Any]) -> Iterator[Callable[..., Any]]:
    """The function itself; of a class the constructors up to the first one without ``**``."""
    if not isinstance(function, type):
        yield inspect.unwrap(function)
        return
    for cls in function.__mro__:
        if "__init__" not in vars(cls):
            continue
        constructor = inspect.unwrap(vars(cls)["__init__"])
        yield constructor
        kinds = {p.kind for p in inspect.signature(constructor).parameters.values()}
        if inspect.Parameter.VAR_KEYWORD not in kinds:
            return


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
        split = find_scenario(name).split
        # The first parameter takes the labels.
        labels = next(iter(parameters(split)), "")
        return parameters(split, {labels, *without})
    return parameters(_maker(section, name), without)


def _maker(section: str, name: str) -> Callable[..., Any]:
    """What is called with the settings of a section."""
    if section == "dataset":
        return dataset_function(name)
    if section == "backbone":
        return import_module("cl_prompts.backbones.weights").create_backbone
    return import_module("cl_prompts.strategies.plugins.anytime").AnytimeEvaluation


def strategy_parameters(strategy: str) -> Parameters:
    """Settings of a strategy."""
    return parameters(strategy_class(strategy), FILLED["strategy"])


def common_parameters() -> Parameters:
    """Settings that all strategies share."""
    base = import_module("cl_prompts.strategies.base.online").OnlineStrategy
    return parameters(base, FILLED["strategy"])


def filled_parameters(strategy: str) -> set[str]:
    """Parameters of a strategy that the runner fills in."""
    return set(parameters(strategy_class(strategy))) & FILLED["strategy"]

"""What a recipe may set, read from the signatures of the functions and classes that it sets up."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib import import_module
from typing import Any, get_type_hints

from cl_prompts.scenarios.registry import SCENARIOS
from cl_prompts.strategies import strategy_class

#: those scenarios that split a 0/1 matrix of labels
MULTI_LABEL_SCENARIOS = tuple(name for name, entry in SCENARIOS.items() if entry.multi_label)

#: parameters that the runner itself fills in
FILLED = {
    "dataset": {"image_size", "seed"},
    "scenario": {"targets", "labels", "test_labels", "seed"},
    "backbone": {"seed"},
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


def parameters(function: Callable[..., Any], without: set[str]) -> dict[str, tuple[Any, Any]]:
    """Parameter -> (type, default) of a function, or of a class's constructor and those it passes
    ``**`` arguments to."""
    found: dict[str, tuple[Any, Any]] = {}
    if isinstance(function, type) and hasattr(function, "settings"):
        declared = function.settings().values()
        return {s.name: (s.kind, s.default) for s in declared if s.name not in without}
    targets: list[Any] = [function]
    if isinstance(function, type):
        targets = [vars(c)["__init__"] for c in function.__mro__ if "__init__" in vars(c)]
    for target in targets:
        target = inspect.unwrap(target)
        hints = get_type_hints(target)
        signature = inspect.signature(target).parameters.values()
        for p in signature:
            if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and p.name not in {"self", *without}:
                default = ... if p.default is p.empty else p.default
                found.setdefault(p.name, (hints.get(p.name, Any), default))
        if not any(p.kind is p.VAR_KEYWORD for p in signature):
            break
    return found


def section_parameters(section: str, name: str = "") -> dict[str, tuple[Any, Any]]:
    """Parameters of a section that a recipe may set."""
    if section == "dataset":
        registry = import_module("cl_prompts.datasets.registry")
        own = registry.dataset_options(name) if name else {}
        return {**parameters(registry.load_dataset, FILLED[section]), **own}
    if section == "scenario":
        function = SCENARIOS[name or "si_blurry"].split
    elif section == "backbone":
        function = import_module("cl_prompts.backbones.weights").create_backbone
    else:
        function = import_module("cl_prompts.strategies.plugins.anytime").AnytimeEvaluation
    return parameters(function, FILLED[section])


def filled_parameters(strategy: str) -> set[str]:
    """Parameters of a strategy that the runner fills in."""
    return set(parameters(strategy_class(strategy), set())) & FILLED["strategy"]


def strategy_parameters(strategy: str) -> dict[str, tuple[Any, Any]]:
    """Parameters of a strategy that a recipe may set."""
    return parameters(strategy_class(strategy), FILLED["strategy"])

"""The runnable layer: recipes, runner, command line, run folders, pictures, reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.model import Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    if name == "Model":
        return import_module("cl_prompts.experiments.trained.model").Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

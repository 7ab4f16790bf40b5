"""The runnable layer: recipes, runner, command line, run folders, pictures, reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.loading import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name == "load_run":
        return import_module("cl_prompts.experiments.trained.loading").load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

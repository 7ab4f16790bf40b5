"""The runnable layer: recipes, runner, command line, run folders, pictures, reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.loading import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.trained.loading"), name)


def __dir__() -> list[str]:
    return sorted(__all__)

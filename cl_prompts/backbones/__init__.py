"""The frozen ViT, the injection of prompts, weights and devices.

torch and timm are imported on first access.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.backbones.vit import FrozenViT
    from cl_prompts.backbones.weights import create_backbone

__all__ = ["FrozenViT", "create_backbone"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # weights imports FrozenViT, too
        return getattr(import_module("cl_prompts.backbones.weights"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""The frozen ViT, how prompts enter it, where its weights come from, and the device it runs on.

torch and timm are loaded on first access to what needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_prompts.backbones.vit import FrozenViT
    from cl_prompts.backbones.weights import create_backbone

__all__ = ["FrozenViT", "create_backbone"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # the module that makes backbones knows their class, too
        return getattr(import_module("cl_prompts.backbones.weights"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

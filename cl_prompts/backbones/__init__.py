"""The frozen ViT, the injection of prompts, weights and devices.

torch and timm are imported on first access.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_prompts.catalog import door

if TYPE_CHECKING:
    from cl_prompts.backbones.architecture import Features
    from cl_prompts.backbones.injection import PromptPlan
    from cl_prompts.backbones.vit import FrozenViT
    from cl_prompts.backbones.weights import create_backbone

__all__ = ["Features", "FrozenViT", "PromptPlan", "create_backbone"]

__getattr__, __dir__ = door(
    __name__,
    "architecture.Features injection.PromptPlan vit.FrozenViT weights.create_backbone",
)

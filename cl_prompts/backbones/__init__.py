"""The frozen ViT, how prompts enter it, where its weights come from, and the device it runs on."""

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone

__all__ = ["FrozenViT", "create_backbone"]

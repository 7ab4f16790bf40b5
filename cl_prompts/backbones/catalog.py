"""Backbones of the published methods by name, without imports."""

from __future__ import annotations

EMBEDDED = "glyph_vit_tiny"

#: SHA-256 of the weight files behind this package's results. Files in the hub's cache are named by
#: their SHA-256.
WEIGHT_FILES = {
    EMBEDDED: "fb1a1672089a9289d186d111ef4f7a16c012504b6baffcca16be71ccc2c7a5e9",
}

#: Backbones of the published methods; other plain ViTs work by their timm names, with the tag: the
#: weights of timm's bare names change between releases.
BACKBONES = {
    EMBEDDED: (
        "1.2 M parameters, 32 px, in the package: pre-trained on rendered letters and symbols, no"
        " digits"
    ),
    "vit_tiny_patch16_224.augreg_in21k": "ViT-Ti/16, ImageNet-21k",
    "vit_small_patch16_224.augreg_in21k": "ViT-S/16, ImageNet-21k",
    "vit_base_patch16_224.orig_in21k": "ViT-B/16, ImageNet-21k (2020): L2P, DualPrompt, MVP",
    "vit_base_patch16_224.augreg_in21k": "ViT-B/16, ImageNet-21k: 'Sup-21k' of many later papers",
    "vit_base_patch16_224.augreg_in21k_ft_in1k": (
        "ViT-B/16, ImageNet-21k then 1k: CODA-Prompt, MULTI-LANE"
    ),
    "vit_small_patch14_dinov2.lvd142m": "ViT-S/14, DINOv2",
}

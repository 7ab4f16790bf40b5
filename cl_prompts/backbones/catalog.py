"""Backbones of the published methods by name, without imports."""

from typing import NamedTuple

EMBEDDED = "glyph_vit_tiny"


class Backbone(NamedTuple):
    """A pre-trained ViT.

    Attributes:
        about: architecture and training.
        millions: parameters in millions.
        size: side in pixels of the images of training.
        feature: what the model reads of an image: ``"token"``, ``"avg"`` or ``"pool"``, see
            :class:`~cl_prompts.backbones.architecture.Features`.
        licence: of the weights, as timm states it, in one word.

    Example:
        >>> str(Backbone("ViT-S/16", 21.7, 224, "token", "Apache-2.0"))
        'ViT-S/16 (21.7 M, 224 px, token, Apache-2.0)'
    """

    about: str
    millions: float
    size: int = 224
    feature: str = "token"
    licence: str = "Apache-2.0"

    def __str__(self) -> str:
        sizes = f"{self.millions} M, {self.size} px, {self.feature}, {self.licence}"
        return f"{self.about} ({sizes})"


#: Backbones of the published methods and of later training; any other ViT of timm works by its timm
#: name. Always with the tag: the weights behind timm's bare names change from release to release.
BACKBONES = {
    EMBEDDED: Backbone("in the package: rendered letters and symbols, no digits", 1.2, 32),
    "vit_tiny_patch16_224.augreg_in21k": Backbone("ViT-Ti/16, ImageNet-21k", 5.5),
    "vit_small_patch16_224.augreg_in21k": Backbone("ViT-S/16, ImageNet-21k", 21.7),
    "vit_base_patch16_224.orig_in21k": Backbone(
        "ViT-B/16, ImageNet-21k (2020): L2P, DualPrompt, MVP", 85.8
    ),
    "vit_base_patch16_224.augreg_in21k": Backbone(
        "ViT-B/16, ImageNet-21k: 'Sup-21k' of many later papers", 85.8
    ),
    "vit_base_patch16_224.augreg_in21k_ft_in1k": Backbone(
        "ViT-B/16, ImageNet-21k then 1k: CODA-Prompt, MULTI-LANE", 85.8
    ),
    "vit_small_patch14_dinov2.lvd142m": Backbone("ViT-S/14, DINOv2", 22.1, 518),
    "vit_small_patch14_reg4_dinov2.lvd142m": Backbone("ViT-S/14, DINOv2 with registers", 22.1, 518),
    "vit_small_patch16_dinov3.lvd1689m": Backbone("ViT-S/16, DINOv3", 21.6, 256, "avg", "DINOv3"),
    "eva02_small_patch14_224.mim_in22k": Backbone("EVA-02-S/14", 21.6, 224, "avg", "MIT"),
    "vit_pe_core_small_patch16_384.fb": Backbone("Perception Encoder S/16", 23.6, 384, "pool"),
    "vit_base_patch16_siglip_224.v2_webli": Backbone("SigLIP 2 B/16", 92.9, 224, "pool"),
    "vit_betwixt_patch16_reg4_gap_256.sbb_in12k": Backbone(
        "ViT with registers and mean patches, ImageNet-12k", 59.8, 256, "avg"
    ),
    "aimv2_large_patch14_224.apple_pt": Backbone("AIMv2-L/14", 309.2, 224, "avg", "Apple-ASCL"),
}

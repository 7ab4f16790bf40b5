"""Tiny random ViTs of each class of timm's models, by timm's own constructors."""

import inspect
from typing import Any

import timm
import torch
from timm.models.eva import Eva

from cl_prompts.backbones.vit import FrozenViT

#: releases that norm queries and keys of an Eva, and compute mixed positions in bf16, too
NEW_TIMM = "qk_norm" in inspect.signature(Eva).parameters
_NORMS = {"qk_norm": True} if NEW_TIMM else {}

#: class of models -> its name in timm and what is set besides the size
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "dinov3": ("vit_small_patch16_dinov3", {}),
    "dinov3_swiglu": ("vit_small_plus_patch16_dinov3", {}),
    "eva": ("eva_giant_patch14_224", {}),
    "eva02": ("eva02_tiny_patch14_224", {}),
    "eva02_unfused": ("eva02_base_patch14_224", {"init_values": 0.5, **_NORMS}),
    "eva02_clip": ("eva02_base_patch16_clip_224", {}),
    "pe_core": ("vit_pe_core_tiny_patch16_384", {}),
    "pe_core_gigantic": ("vit_pe_core_gigantic_patch14_448", {}),
    "pe_spatial": ("vit_pe_spatial_tiny_patch16_512", {}),
    "rope_mixed": ("vit_base_patch16_rope_mixed_224", {}),
    "rope_reg_gap": ("vit_base_patch16_rope_reg1_gap_256", {}),
    "siglip": ("vit_base_patch16_siglip_224", {}),
    "siglip_gap": ("vit_base_patch16_siglip_gap_224", {}),
    "reg4_map": ("vit_so150m_patch16_reg4_map_256", {}),
    "reg4_gap": ("vit_base_patch16_reg4_gap_256", {}),
    "gap": ("vit_base_patch16_gap_224", {}),
    "aimv2": ("aimv2_large_patch14_224", {}),
    "beit3": ("beit3_base_patch16_224", {}),
    "deit3": ("deit3_small_patch16_224", {}),
}


def family_vit(family: str, **changes: Any) -> FrozenViT:
    """A random frozen ViT of a class, of 16 px, 16 patches, width 32 and 3 blocks."""
    name, options = FAMILIES[family]
    size = {"img_size": 16, "patch_size": 4, "embed_dim": 32, "depth": 3, "num_heads": 2}
    vit = FrozenViT(timm.create_model(name, num_classes=0, **{**size, **options, **changes}))
    vit.load_state_dict(_weights(family, vit))
    return vit


def _weights(family: str, vit: FrozenViT) -> dict[str, torch.Tensor]:
    """Weights so large that attention is not flat and features tell images apart."""
    shapes = {name: tuple(value.shape) for name, value in vit.state_dict().items()}
    draw = torch.Generator().manual_seed(list(FAMILIES).index(family))
    state = {}
    for name, shape in shapes.items():
        scale = shape[-1] ** -0.5 if len(shape) == 2 else 0.3
        state[name] = torch.randn(shape, generator=draw) * scale
        if "norm" in name and name.endswith("weight"):
            state[name] += 1
    return state

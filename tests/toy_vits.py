"""Random frozen ViTs of toy size."""

from functools import cache
from typing import Any

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cl_prompts.backbones.vit import FrozenViT

DEPTH = 4
TINY: dict[str, Any] = {
    "img_size": 16,
    "patch_size": 8,
    "embed_dim": 16,
    "depth": DEPTH,
    "num_heads": 2,
    "num_classes": 0,
}


#: further shapes of a plain ViT, by what is special about them
VIT_VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "registers": {"reg_tokens": 3},
    "no_embed_class": {"no_embed_class": True},
    "dynamic_img_size": {"dynamic_img_size": True},
    "layer_scale": {"init_values": 0.3},
    "qk_norm": {"qk_norm": True},
    "pre_norm": {"pre_norm": True},
    "no_qkv_bias": {"qkv_bias": False},
}


def tiny_vit(**changes: Any) -> FrozenViT:
    """A random frozen ViT of 16 px, 4 patches, width 16 and 4 blocks."""
    return FrozenViT(_random_vit(lively=False, **changes))


def lively_vit(**changes: Any) -> FrozenViT:
    """Like :func:`tiny_vit`, with weights so large that features tell images apart and attention is
    not flat."""
    return FrozenViT(_random_vit(lively=True, **changes))


def empty_vit_b() -> FrozenViT:
    """ViT-B/16 without values, on the meta device: enough to count its products."""
    with torch.device("meta"):
        vit = VisionTransformer(num_classes=0, weight_init="skip")
    for module in vit.modules():
        if isinstance(module, torch.nn.LayerNorm | torch.nn.GELU):
            module.forward = lambda x: x  # no product, and slow without values
    return FrozenViT(vit).to("meta")


def _random_vit(*, lively: bool, **changes: Any) -> VisionTransformer:
    twin: VisionTransformer = _copy(_built(lively, **changes))
    return twin


def _copy(module: nn.Module) -> Any:
    """A module with tensors, modules and hooks of its own, in a fifth of the time in which it is
    built, or copied by ``deepcopy``."""
    twin = object.__new__(type(module))
    for name, value in vars(module).items():
        vars(twin)[name] = value.copy() if isinstance(value, dict) else value
    for name, parameter in module.named_parameters(recurse=False):
        twin._parameters[name] = nn.Parameter(parameter.detach().clone())
    for name, child in module.named_children():
        twin._modules[name] = _copy(child)
    return twin


@cache
def _built(lively: bool, **changes: Any) -> VisionTransformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(**{**TINY, **changes})
        for name, parameter in vit.named_parameters():
            if parameter.dim() == 1:  # LayerScale and biases away from their trivial initial values
                mean = 1.0 if "norm" in name and "weight" in name else 0.0
                torch.nn.init.normal_(parameter, mean=mean, std=0.2)
            elif lively and name.endswith("weight"):
                torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    assert not [*vit.buffers()]  # which would be shared by copies
    return vit

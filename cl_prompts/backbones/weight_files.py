"""Weights in files: read them, load them into a ViT, and hash them."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from weakref import WeakKeyDictionary

import torch
from timm.models import eva, load_state_dict, vision_transformer
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError

#: Hash of each backbone's weights, with a mark that changes when a weight is written.
_KNOWN: WeakKeyDictionary[FrozenViT, tuple[object, str]] = WeakKeyDictionary()


def load_weights(vit: nn.Module, path: Path) -> None:
    """Load a ``.safetensors`` or torch file into ``vit``; nothing in it is executed.

    Of a training checkpoint timm reads the moving average, if there is one, or the model. Position
    and patch embeddings are resampled by timm's filter; heads are dropped.

    Raises:
        InputError: missing or unreadable file, or weights that do not fit (which keys).
    """
    if not path.is_file():
        raise InputError(
            f"weight file {path} does not exist: pass weights=timm, weights=random or an existing"
            " file"
        )
    try:
        read = load_state_dict(str(path), weights_only=True)
        state = {name: value.float() for name, value in read.items()}
    except Exception as error:
        raise InputError(
            f"{path} is not a file of plain tensors ({type(error).__name__}): save a state_dict, or"
            " convert it to .safetensors"
        ) from error
    module = eva if isinstance(vit, eva.Eva) else vision_transformer
    wanted = vit.state_dict()
    heads = ("head.", "head_dist.", "fc_norm.")
    try:
        state = module.checkpoint_filter_fn(state, vit)
        vit.load_state_dict(
            {k: v for k, v in state.items() if k in wanted or not k.startswith(heads)}
        )
    except Exception as error:  # torch lists missing and unknown keys, and shapes
        name = (getattr(vit, "pretrained_cfg", None) or {}).get("architecture", "this ViT")
        hint = f"name the ViT of the file with --backbone. {shorten(str(error), 300)}"
        raise InputError(f"the weights in {path} do not fit {name}: {hint}") from error


def state_hash(state: Mapping[str, Tensor]) -> str:
    """Hash names, types, shapes and values of tensors by SHA-256, sorted by name.

    >>> a = state_hash({"w": torch.zeros(2), "b": torch.ones(1)})
    >>> a == state_hash({"b": torch.ones(1), "w": torch.zeros(2)})
    True
    >>> a == state_hash({"b": torch.ones(1), "w": torch.zeros(2, 1)})
    False
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        # As bytes, since numpy has no bf16.
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def weights_hash(backbone: FrozenViT) -> str:
    """Hash a backbone's weights in its precision and image size, and its normalisation.

    The SHA-256 is cached until a weight is written.
    """
    state = {**backbone.state_dict(), "mean": backbone.mean, "std": backbone.std}
    # Writes increase a tensor's version; writes to its ``data`` change the sum.
    sums = torch.stack([t.sum(dtype=torch.float32) for t in state.values()]).tolist()
    mark = sums, [(t.data_ptr(), t._version) for t in state.values()]  # noqa: SLF001
    known = _KNOWN.get(backbone)
    if known is None or known[0] != mark:
        known = mark, state_hash(state)
        _KNOWN[backbone] = known
    return known[1]


def backbone_hash(backbone: FrozenViT) -> str:
    """Hash all properties of a backbone that a saved model relies on.

    These are weights, heads, activations, normalisation and features. A trainable backbone's
    weights do not count, since they are saved with the model.
    """
    normalisation = {"mean": backbone.mean, "std": backbone.std}
    fixed = state_hash(normalisation) if backbone.trainable else weights_hash(backbone)
    # ViTs with the same weights may differ in these: QuickGELU or GELU in CLIP.
    blocks = [
        (block.attn.num_heads, type(block.mlp.act).__name__, block.norm1.eps)
        for block in backbone.vit.blocks
    ]
    pool = getattr(backbone.features, "pool", None)
    parts = (fixed, blocks, backbone.own.pool, backbone.features, pool)
    return hashlib.sha256(repr(parts).encode()).hexdigest()

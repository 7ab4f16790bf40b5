"""Fingerprints of weights: are these the same tensors?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT

#: Hashes by backbone, each with what tells that the weights have not been written to since.
_KNOWN: WeakKeyDictionary[FrozenViT, tuple[object, str]] = WeakKeyDictionary()


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and values of tensors, in the order of their names.

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
    """SHA-256 of a backbone's weights in its precision, position embeddings at its image size, and
    of its normalisation.

    It is computed once, and again where a weight was written to.
    """
    state = {**backbone.state_dict(), **_normalisation(backbone)}
    # Writes count a tensor's version up, but for those to its ``data``, which its sum shows.
    sums = torch.stack([t.sum(dtype=torch.float32) for t in state.values()]).tolist()
    mark = sums, [(t.data_ptr(), t._version) for t in state.values()]  # noqa: SLF001
    known = _KNOWN.get(backbone)
    if known is None or known[0] != mark:
        known = mark, state_hash(state)
        _KNOWN[backbone] = known
    return known[1]


def backbone_hash(backbone: FrozenViT) -> str:
    """SHA-256 of all that a saved model takes for granted of its backbone: weights, heads,
    activations, normalisation and read-out; without the weights of one that learns, which are saved
    with the model."""
    fixed = state_hash(_normalisation(backbone)) if backbone.trainable else weights_hash(backbone)
    # ViTs of which these differ may have the same weights.
    blocks = [
        (block.attn.num_heads, type(block.mlp.act).__name__, block.norm1.eps)
        for block in backbone.vit.blocks
    ]
    return hashlib.sha256(repr((fixed, blocks, backbone.read_out)).encode()).hexdigest()


def _normalisation(backbone: FrozenViT) -> dict[str, Tensor]:
    return {"mean": backbone.mean, "std": backbone.std}

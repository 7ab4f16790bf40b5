"""Fingerprints of weights: are these the same tensors?"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

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
    parts = (fixed, blocks, backbone.features, *_unusual(backbone))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _unusual(backbone: FrozenViT) -> list[tuple[str, str]]:
    """Settings of norms, activations and gates that weights do not show. ViTs by timm's names that
    :class:`FrozenViT` takes have none, so that their hashes stay as they were."""
    eps = backbone.vit.blocks[0].norm1.eps
    found = []
    for name, part in backbone.vit.named_modules():
        if hasattr(part, "eps"):
            usual = isinstance(part, nn.LayerNorm) and part.eps == eps
        elif hasattr(part, "gate_last"):
            usual = not part.gate_last
        else:
            usual = not name.endswith(".act") or part.extra_repr() in ("", "approximate='none'")
        if not usual:
            kept = getattr(part, "eps", None), part.extra_repr()
            found.append((name, f"{type(part).__name__}{kept}"))
    return found


def _normalisation(backbone: FrozenViT) -> dict[str, Tensor]:
    return {"mean": backbone.mean, "std": backbone.std}

"""Weights in files: read them, load them into a ViT, and hash them."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from textwrap import shorten
from typing import Any
from weakref import WeakKeyDictionary

import torch
from safetensors.torch import load_file
from timm.models import eva, vision_transformer
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError

#: Characters of torch's message about weights that do not fit.
LISTED = 400
#: Hash of each backbone's weights, with a mark that changes when a weight is written.
_KNOWN: WeakKeyDictionary[FrozenViT, tuple[object, str]] = WeakKeyDictionary()


def read_tensors(path: Path) -> Any:
    """Read a ``.safetensors`` file, or a torch file of tensors and plain values, on the CPU.

    Nothing in the file is executed.

    Raises:
        OSError: the file does not exist or cannot be read.
        Exception: of any kind, which both libraries raise for other files.
    """
    if path.suffix == ".safetensors":
        return load_file(path)
    with warnings.catch_warnings():
        # torch warns about other kinds of files before it refuses them.
        warnings.simplefilter("ignore")
        return torch.load(path, map_location="cpu", weights_only=True)


def in_fp32(what: str, value: Tensor) -> Tensor:
    """Return the values of a tensor from a file in fp32.

    Raises:
        InputError: not a floating-point tensor, or not finite.

    >>> in_fp32("scale", torch.ones(2, dtype=torch.float64))
    tensor([1., 1.])
    """
    if not value.is_floating_point():  # integers are a quantised form
        raise InputError(
            f"{what} is not a float tensor: save the state_dict of a loaded model in fp32"
        )
    values = value.float()
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{what} has NaN or infinite values: use another file")
    return values


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a ``.safetensors`` or torch file in fp32; nothing in it is executed.

    Raises:
        InputError: pickled objects, or not a weight file.
    """
    state: Any
    try:
        state = read_tensors(path)
    except Exception as error:
        raise InputError(
            f"{path} is not a file of plain tensors ({type(error).__name__}): save a state_dict, or"
            " convert it to .safetensors"
        ) from error
    # Training scripts save the weights under one of these names.
    for key in ("model", "state_dict", "teacher"):
        inner = state.get(key) if isinstance(state, dict) else None
        state = inner if isinstance(inner, dict) else state
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise InputError(f"{path} has no state_dict: save a mapping from names to tensors")
    # DataParallel puts "module." before all names.
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {k.removeprefix(prefix): in_fp32(f"{k} in {path}", v) for k, v in state.items()}


def load_weights(vit: nn.Module, path: Path) -> None:
    """Load a weight file into ``vit``.

    Position and patch embeddings are resampled by timm's filter; heads are dropped.

    Raises:
        InputError: missing or unreadable file, or weights that do not fit (which keys).
    """
    if not path.is_file():
        raise InputError(
            f"weight file {path} does not exist: pass weights=timm, weights=random or an existing"
            " file"
        )
    if path.suffix == ".npz":
        _load_npz(vit, path)
        return
    state = read_weights(path)
    module = eva if isinstance(vit, eva.Eva) else vision_transformer
    try:
        state = module.checkpoint_filter_fn(state, vit)
    except Exception as error:
        raise InputError(f"{path} does not match this ViT: {error}") from error
    wanted = vit.state_dict()
    heads = ("head.", "head_dist.", "fc_norm.")
    state = {k: value for k, value in state.items() if k in wanted or not k.startswith(heads)}
    try:
        vit.load_state_dict(state)
    except RuntimeError as error:  # it lists missing and unknown keys, and shapes
        listed = shorten(str(error), LISTED)
        raise InputError(f"the weights in {path} do not fit this ViT: {listed}") from error


def _load_npz(vit: Any, path: Path) -> None:
    """Load a file in Google's format."""
    if isinstance(vit, eva.Eva):
        raise InputError(f"{path}: EVA, DINOv3 and PE have no .npz format, use .safetensors")
    # Tensors that the file lacks stay NaN.
    for value in vit.state_dict().values():
        value.fill_(torch.nan)
    try:
        vit.load_pretrained(str(path))
    except Exception as error:
        raise InputError(
            f"{path} does not fit this ViT as Google's .npz format: {error}"
        ) from error
    # timm copies values unchecked.
    for name, value in vit.state_dict().items():
        in_fp32(f"{name} in {path}", value)


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
    # ViTs with the same weights may differ in these.
    blocks = [
        (block.attn.num_heads, type(block.mlp.act).__name__, block.norm1.eps)
        for block in backbone.vit.blocks
    ]
    parts = (fixed, blocks, backbone.features, *_positions(backbone), *_unusual(backbone))
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _positions(backbone: FrozenViT) -> list[object]:
    """List pooling and rotary positions, which weights do not determine; empty for plain ViTs."""
    own = backbone.own.pool
    pools = (own, getattr(backbone.features, "pool", own))
    n_patches = backbone.counter.shape.n_patches
    rotation = backbone.architecture.rotations(backbone.vit, n_patches, 0)[0]
    found: list[object] = [] if pools == ("token", "token") else [pools]
    if rotation is not None:
        found += [rotation.half, state_hash({"table": rotation.table})]
    return found


def _unusual(backbone: FrozenViT) -> list[tuple[str, str]]:
    """List settings of norms, activations and gates that weights do not determine.

    The list is empty for the ViTs that timm names.
    """
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

"""Backbones by name, their weights, and the errors of weights that do not fit."""

from __future__ import annotations

import json
import re
import socket
import warnings
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from zipfile import ZipFile, is_zipfile

import timm
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer, checkpoint_filter_fn
from torch import Tensor

from cl_prompts.backbones.catalog import BACKBONES, EMBEDDED, WEIGHT_FILES
from cl_prompts.backbones.normalisation import normalisation_of
from cl_prompts.backbones.tensor_files import in_fp32, read_tensors
from cl_prompts.backbones.vit import FrozenViT, Precision, check_plain
from cl_prompts.checks import sha256, shown
from cl_prompts.errors import InputError, unknown

_LARGEST = 2**24  # pixels on a side


def create_backbone(
    name: str = EMBEDDED,
    *,
    weights: str | Path = "default",
    image_size: int | None = None,
    normalisation: str | Sequence[Sequence[float]] = "checkpoint",
    precision: Precision = "fp32",
    seed: int = 0,
) -> FrozenViT:
    """Build a frozen backbone.

    Args:
        name: ``glyph_vit_tiny`` (in the package) or the timm name of a plain ViT, tag included.
        weights: ``"default"`` (the package's file for the embedded ViT, else the hub), ``"timm"``
            (the hub), ``"random"`` (for tests and speed; warns), or a file: ``.safetensors``,
            ``.pth``/``.pt``/``.bin`` (tensors only: nothing in it is executed) or Google's
            ``.npz``.
        image_size: side in pixels, a multiple of the patch; position embeddings are resampled by
            timm's own filter. Default: what the weights were trained with.
        normalisation: see :func:`cl_prompts.backbones.normalisation.normalisation_of`.
        precision: ``"fp32"`` or ``"bf16"``.
        seed: of random weights.

    Raises:
        InputError: unknown name, not a plain ViT, image size that does not fit the patch, a missing
            or unfitting weight file, an unreachable hub.
    """
    weights = str(weights)
    if weights == "default":
        weights = "embedded" if name == EMBEDDED else "timm"
    if weights == "timm" and name == EMBEDDED:
        raise InputError(
            f"{EMBEDDED} is not on the hub: use weights=default, weights=random or a file"
        )
    if weights == "embedded" and name != EMBEDDED:
        raise InputError(
            f"weights=embedded belong to {EMBEDDED}: use weights=timm, weights=random or a file for"
            f" {name}"
        )
    # Initial weights are overwritten, or drawn from a seed of their own: global generators, also
    # those of accelerators, are left alone.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        vit = _build(name, image_size)
    check_plain(vit)  # before its weights are fetched
    file = None
    if weights == "timm":
        file = _load_from_hub(name, vit)
    elif weights != "random":
        file = _embedded_path() if weights == "embedded" else Path(weights)
        load_weights(vit, file)
    backbone = FrozenViT(
        vit, normalisation=normalisation_of(normalisation, vit), precision=precision
    )
    backbone.published = file is not None and is_published(name, file)
    if weights == "random":
        warnings.warn(
            f"{name} has RANDOM weights: good for speed and tests, not for results", stacklevel=2
        )
    return backbone


def check_backbone(name: str) -> None:
    """Refuse a name that no plain ViT has, without its weights or memory for them.

    Raises:
        InputError: unknown name, or not a plain ViT.
    """
    with torch.device("meta"):
        check_plain(_build(name, None))


def _build(name: str, image_size: int | None) -> VisionTransformer:
    if name == EMBEDDED:
        arguments = _embedded_arguments()
        patch = arguments["patch_size"]
        _check_size(image_size, patch, name)
        vit = VisionTransformer(
            **{**arguments, "img_size": image_size or arguments["img_size"], "num_classes": 0}
        )
        # What it was trained with, where normalisation_of looks for it.
        vit.pretrained_cfg = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}
        return vit
    if not timm.is_model(name):
        raise unknown(
            "backbone",
            name,
            [*BACKBONES, *timm.list_models("vit_*", pretrained=True), *timm.list_models("vit_*")],
        )
    size = {} if image_size is None else {"img_size": image_size}
    _check_size(image_size, _patch_of(name), name)
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **size)
    except TypeError as error:
        raise InputError(
            f"backbone {name} is not a plain ViT of timm: it takes no {error}"
        ) from error
    except RuntimeError as error:
        # timm says in words alone that a tag does not exist.
        if "pretrained tag" not in str(error):
            raise
        model, _, tag = name.partition(".")
        tags = [
            known.partition(".")[2] for known in timm.list_models(f"{model}.*", pretrained=True)
        ]
        raise unknown(f"tag of backbone {model}", tag, filter(None, tags)) from error


def _patch_of(name: str) -> int | None:
    """The patch size in pixels, as part of timm's names."""
    for part in name.split(".")[0].split("_"):
        if part.startswith("patch") and part[5:].isdigit():
            return int(part[5:])
    return None


def _check_size(image_size: int | None, patch: int | None, name: str) -> None:
    if image_size is None or patch is None:
        return
    if image_size > _LARGEST:  # the number of tokens might not even fit a machine's integer
        raise InputError(f"image size {shown(image_size)} is greater than {_LARGEST:,} pixels")
    if image_size < patch or image_size % patch:
        near = max(patch, round(image_size / patch) * patch)
        raise InputError(
            f"image size {image_size} is not a multiple of the {patch} px patch of {name}: {near}"
            " would be"
        )


def _embedded_path() -> Path:
    return Path(str(resources.files("cl_prompts").joinpath("assets", f"{EMBEDDED}.safetensors")))


def _embedded_arguments() -> dict[str, int]:
    with safe_open(_embedded_path(), framework="pt") as file:
        return json.loads(file.metadata()["architecture"])


def _hub_file(name: str) -> tuple[str, str] | None:
    """Repository and file on the Hugging Face hub that hold timm's weights for ``name``, or
    None."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    model = f"{config.architecture}.{config.tag}" if config.tag else config.architecture
    repository = config.hf_hub_id + model if config.hf_hub_id.endswith("/") else config.hf_hub_id
    return repository, config.hf_hub_filename or "model.safetensors"


def at_hand(name: str) -> bool:
    """Whether the default weights of a backbone are on this machine, in the package or in the hub's
    cache."""
    place = _hub_file(name) if name != EMBEDDED else None
    return name == EMBEDDED or (
        place is not None and isinstance(try_to_load_from_cache(*place), str)
    )


def check_at_hand(name: str, weights: str) -> None:
    """Refuse weights that would be fetched from the hub.

    Args:
        name: of the backbone.
        weights: as :func:`create_backbone` takes them.

    Raises:
        InputError: they are not on this machine; the sentence says from where they would come, and
            what fetches them.
    """
    if weights not in ("default", "timm") or name == EMBEDDED:
        return
    place = _hub_file(name) if timm.is_model(name) else None
    if place is None or at_hand(name):
        return  # or create_backbone says what is wrong
    repository, file = place
    raise InputError(
        f"the weights of backbone {name} are not on this machine, and a run folder does not fetch"
        f" them by itself: if you want them from {hub_constants.ENDPOINT}/{repository}, type: hf"
        f" download {repository} {file}"
    )


def _load_from_hub(name: str, vit: VisionTransformer) -> Path:
    """Load from the cache of the hub's client, into which what is missing is fetched.

    A file that is called by its SHA-256 there must have it.
    """
    place = _hub_file(name)
    if place is None:
        raise InputError(
            f"timm has no weights on the hub for backbone {name}: pass weights=FILE or"
            " weights=random"
        )
    cached = try_to_load_from_cache(*place)
    if not isinstance(cached, str):
        try:
            # The client retries for most of a minute, which is pointless without a name server.
            socket.getaddrinfo(urlparse(hub_constants.ENDPOINT).hostname, 443)
            cached = hf_hub_download(*place)
        except Exception as error:
            raise InputError(
                f"the hub could not be reached for {name} ({type(error).__name__}): fetch"
                f" {place[1]} of {place[0]} from the Hugging Face hub by hand, put it anywhere, and"
                f" pass weights=FOLDER/{place[1]}"
            ) from error
    file = Path(cached).resolve()
    # The client compares lengths alone.
    if re.fullmatch("[0-9a-f]{64}", file.name) and sha256(file) != file.name:
        raise InputError(
            f"{file} is not the file that the hub has of {name}: its SHA-256 differs, so remove it,"
            " and the same command fetches it again"
        )
    load_weights(vit, Path(cached))
    return Path(cached)


def is_published(name: str, file: Path) -> bool:
    """Whether a weight file is the one that is known by the name of a backbone, by its SHA-256: of
    ``WEIGHT_FILES``, or of the hub as its local cache has it.

    >>> is_published(EMBEDDED, _embedded_path())
    True
    """
    known = {WEIGHT_FILES.get(name)}
    place = None if name == EMBEDDED else _hub_file(name)
    cached = place and try_to_load_from_cache(*place)
    if isinstance(cached, str):
        known.add(Path(cached).resolve().name)  # files are called by their SHA-256
    return known != {None} and sha256(file) in known


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` or torch file, without executing anything in it, in fp32.

    Raises:
        InputError: missing file, pickled objects, or not a weight file.
    """
    _check_exists(path)
    state: Any
    try:
        state = read_tensors(path)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as tensors alone ({type(error).__name__}): save its state_dict,"
            " or convert it to .safetensors"
        ) from error
    # Checkpoints of training scripts hold the weights under one of these names.
    for key in ("model", "state_dict", "teacher"):
        inner = state.get(key) if isinstance(state, dict) else None
        state = inner if isinstance(inner, dict) else state
    if not isinstance(state, dict) or not all(map(_is_entry, state.items())):
        raise InputError(f"{path} holds no state_dict: a mapping from names to tensors is needed")
    # Saved from within DataParallel, all names begin with "module.".
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    return {k.removeprefix(prefix): _in_fp32(path, k, v) for k, v in state.items()}


def _is_entry(entry: tuple[Any, Any]) -> bool:
    return isinstance(entry[0], str) and isinstance(entry[1], Tensor)


def _check_exists(path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"weight file {path} does not exist: pass weights=timm, weights=random or an existing"
            " file"
        )


def _in_fp32(path: Path, name: str, value: Tensor) -> Tensor:
    try:
        return in_fp32(value)
    except ValueError as error:
        raise InputError(f"{name} in {path} {error}") from error


def load_weights(vit: VisionTransformer, path: Path) -> None:
    """Load a weight file into ``vit``; position and patch embeddings are resampled by timm's
    filter, heads are dropped.

    Raises:
        InputError: unreadable file, or weights that do not fit (which keys).
    """
    if path.suffix == ".npz":
        _check_exists(path)
        if not is_zipfile(path):
            raise InputError(f"{path} is no .npz file, or a damaged one")
        # What the file does not hold stays so.
        for value in vit.state_dict().values():
            value.fill_(torch.nan)
        try:
            vit.load_pretrained(str(path))
        except Exception as error:
            raise InputError(
                f"{path} does not fit this ViT as Google's .npz format: {error}"
            ) from error
        # timm copies them as they are.
        for name, value in vit.state_dict().items():
            if bool(value.isnan().all()):
                raise InputError(f"{path} holds no {name}, as this ViT has: give another file")
            _in_fp32(path, name, value)
        # Timm reads the entries that it needs, and asks for no others.
        with ZipFile(path) as file:
            named = [re.search(r"encoderblock_(\d+)/", name) for name in file.namelist()]
        blocks = 1 + max((int(found[1]) for found in named if found), default=-1)
        if blocks > len(vit.blocks):
            raise InputError(f"{path} has {blocks} blocks, and this ViT {len(vit.blocks)}")
        return
    state = read_weights(path)
    try:
        state = checkpoint_filter_fn(state, vit)
    except Exception as error:
        raise InputError(f"{path} is no checkpoint of this ViT: {error}") from error
    wanted = vit.state_dict()
    state = {
        k: v for k, v in state.items() if not k.startswith(("head.", "head_dist.", "fc_norm."))
    }
    missing = sorted(set(wanted) - set(state))
    extra = sorted(set(state) - set(wanted))
    shapes = [
        f"{k} is {tuple(state[k].shape)}, not {tuple(wanted[k].shape)}"
        for k in sorted(set(wanted) & set(state))
        if state[k].shape != wanted[k].shape
    ]
    if missing or extra or shapes:
        said = [
            f"{len(found)} {what} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
            for what, found in (
                ("missing keys", missing),
                ("unknown keys", extra),
                ("wrong shapes", shapes),
            )
            if found
        ]
        raise InputError(f"the weights in {path} do not fit this ViT: {'; '.join(said)}")
    vit.load_state_dict(state)

"""Backbones by name, and where their weights come from: the package, the hub or a file."""

import json
import socket
import warnings
from importlib import resources
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

import timm
import torch
from huggingface_hub import constants as hub_constants
from huggingface_hub import hf_hub_download, try_to_load_from_cache
from safetensors import safe_open
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cl_prompts.backbones.architecture import Architecture
from cl_prompts.backbones.catalog import BACKBONES, EMBEDDED
from cl_prompts.backbones.vit import FrozenViT, Precision
from cl_prompts.backbones.weight_files import load_weights
from cl_prompts.checks import Normalisation, fits
from cl_prompts.errors import InputError, unknown


def create_backbone(
    name: str = EMBEDDED,
    *,
    weights: str | Path = "default",
    image_size: int | None = None,
    normalisation: str | Normalisation = "checkpoint",
    precision: Precision = "fp32",
    seed: int = 0,
) -> FrozenViT:
    """Build a frozen backbone.

    Args:
        name: ``glyph_vit_tiny`` (in the package) or the timm name of a ViT, tag included.
        weights: ``"default"`` (the package's file for the embedded ViT, else the hub), ``"timm"``
            (the hub), ``"random"`` (for tests and speed; warns), or a file: ``.safetensors``, or
            ``.pth``/``.pt``/``.bin`` (tensors only: nothing in it is executed).
        image_size: side in pixels, a multiple of the patch; timm's own filter resamples position
            embeddings. Default: the size of training.
        normalisation: see :func:`normalisation_of`.
        precision: ``"fp32"`` or ``"bf16"``.
        seed: of random weights.

    Raises:
        InputError: unknown name, another kind of model, an image size above 2,048 or not a multiple
            of the patch, a missing or incompatible weight file, an unreachable hub.
    """
    if image_size is not None and image_size > 2048:
        raise InputError(f"image size {image_size} is too large: use at most 2048")
    # Initial weights have their own seed; the global generators do not change.
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        vit = _build(name, image_size)
    Architecture.of(vit)  # before the download
    patch = vit.patch_embed.patch_size[0]
    if image_size is not None and image_size % patch:
        near = max(patch, round(image_size / patch) * patch)
        raise InputError(
            f"image size {image_size} is not a multiple of the {patch} px patch of {name}: use"
            f" {near}"
        )
    file = None if weights == "random" else weight_file(name, str(weights))
    if file is None:
        warnings.warn(
            f"{name} has RANDOM weights: good for speed and tests, not for results", stacklevel=2
        )
    else:
        load_weights(vit, file)
    own = normalisation_of(normalisation, vit)
    return FrozenViT(vit, normalisation=own, precision=precision)


def normalisation_of(name: str | Normalisation, vit: nn.Module) -> Normalisation:
    """Resolve a normalisation setting to mean and std.

    Args:
        name: ``"checkpoint"`` (values of the weights' training), ``"none"`` (unchanged images, for
            weights trained on [0, 1] and for data sets that normalise), ``"imagenet"``, or a pair
            (mean, std) of three numbers each.
        vit: model with the values of its checkpoint.

    Raises:
        InputError: any other value.
    """
    words = Literal["checkpoint", "none", "imagenet"]
    fits("normalisation", name, words | Normalisation)
    config = getattr(vit, "pretrained_cfg", None) or {}
    fixed: dict[str, Normalisation] = {
        "checkpoint": (config.get("mean", (0.5,) * 3), config.get("std", (0.5,) * 3)),
        "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    }
    return fixed[name] if isinstance(name, str) else name


def check_backbone(name: str) -> None:
    """Check that a name is a ViT that works, without allocating its weights.

    Raises:
        InputError: unknown name, or another kind of model.
    """
    with torch.device("meta"):
        Architecture.of(_build(name, None))


def _build(name: str, image_size: int | None) -> VisionTransformer:
    if name == EMBEDDED:
        with safe_open(_embedded_path(), framework="pt") as file:
            arguments = json.loads(file.metadata()["architecture"])
        return VisionTransformer(
            **{**arguments, "img_size": image_size or arguments["img_size"], "num_classes": 0}
        )
    # A tag is known if timm has weights for it.
    if not timm.is_model(name) or ("." in name and not timm.is_model_pretrained(name)):
        tags = timm.list_models(f"{name.partition('.')[0]}.*", pretrained=True)
        vits = timm.list_models("vit_*"), timm.list_models("vit_*", pretrained=True)
        raise unknown("backbone", name, [*BACKBONES, *tags, *vits[0], *vits[1]])
    size = {} if image_size is None else {"img_size": image_size}
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **size)
    except TypeError as error:
        raise InputError(
            f"backbone {name} is not a plain ViT of timm ({error}): use one of its vit_* models"
        ) from error


def _embedded_path() -> Path:
    return Path(str(resources.files("cl_prompts").joinpath("assets", f"{EMBEDDED}.safetensors")))


def _hub_file(name: str) -> tuple[str, str] | None:
    """Return the hub's repository and file of timm's weights, or None."""
    config = timm.get_pretrained_cfg(name)
    if config is None or not config.hf_hub_id:
        return None
    return config.hf_hub_id, config.hf_hub_filename or "model.safetensors"


def _cached_file(place: tuple[str, str]) -> Path | None:
    """Return a file of the hub in the hub's cache, or None."""
    found = try_to_load_from_cache(*place)
    return Path(found) if isinstance(found, str) else None


def check_at_hand(name: str, weights: str) -> None:
    """Refuse weights that need a download from the hub.

    Args:
        name: of the backbone.
        weights: see :func:`create_backbone`.

    Raises:
        InputError: the weights are not on this machine; the message has the download command.
    """
    # create_backbone reports an unknown name.
    place = _hub_file(name) if timm.is_model(name) else None
    if weights in ("default", "timm") and place and _cached_file(place) is None:
        repository, file = place
        raise InputError(
            f"the weights of backbone {name} are not on this machine. To download them from"
            f" {hub_constants.ENDPOINT}/{repository}, run: hf download {repository} {file}"
        )


def weight_file(name: str, weights: str) -> Path:
    """Return the file of weights (see :func:`create_backbone`), from the hub if needed."""
    if weights == "default" and name == EMBEDDED:
        return _embedded_path()
    if weights not in ("default", "timm"):
        return Path(weights)
    place = _hub_file(name)
    if place is None:
        raise InputError(
            f"timm has no weights on the hub for backbone {name}: use weights=FILE or"
            " weights=random"
        )
    cached = _cached_file(place)
    if cached is None:
        try:
            # Without a name server, fail at once: the client retries for most of a minute.
            socket.getaddrinfo(urlparse(hub_constants.ENDPOINT).hostname, 443)
            cached = Path(hf_hub_download(*place))
        except Exception as error:
            raise InputError(
                f"cannot reach the hub for {name} ({type(error).__name__}): download {place[1]} of"
                f" {place[0]} by hand, and give that file: weights=FILE in a run, else --weights"
            ) from error
    return cached

"""States of torch and of a model under which numbers would be others, or torch fails far from the
cause."""

from __future__ import annotations

import torch

from cl_prompts.backbones.vit import PRECISIONS
from cl_prompts.errors import InputError
from cl_prompts.models.base import ContinualModel


def check_surroundings(model: ContinualModel, *, training: bool = False) -> None:
    """Refuse to train or evaluate a model where torch, or the model, is in another state than the
    methods are made for.

    Args:
        model: that is about to be used.
        training: gradients are needed.

    Raises:
        InputError: autocast, another default type or device, ``inference_mode``, ``no_grad`` in
            training, products in bf16 on the CPU, parameters or buffers of another type, parameters
            without values, or made in ``inference_mode``, a frozen ViT that was unfrozen.

    >>> from cl_prompts.backbones import create_backbone
    >>> from cl_prompts.models.prompted import PromptedViT
    >>> with torch.no_grad():
    ...     check_surroundings(PromptedViT(create_backbone(), 10))
    ...     check_surroundings(PromptedViT(create_backbone(), 10), training=True)
    Traceback (most recent call last):
    cl_prompts.errors.InputError: gradients are off here: train outside of torch.no_grad()
    """
    check_torch(next(iter(model.parameters())).device)
    if training and not torch.is_grad_enabled():
        raise InputError("gradients are off here: train outside of torch.no_grad()")
    check_tensors(model)
    model.in_use = True


def check_torch(device: torch.device) -> None:
    """Refuse to build or use a model where torch is in another state than the methods are made for.

    Args:
        device: of the model.

    Raises:
        InputError: autocast, another default type or device, ``inference_mode``, products in bf16
            on the CPU.
    """
    refuse_autocast(device)
    if torch.get_default_dtype() != torch.float32:
        raise InputError(
            f"the default type is {torch.get_default_dtype()}: bring it back with"
            " torch.set_default_dtype(torch.float32)"
        )
    if torch.get_default_device().type != "cpu":
        raise InputError(
            f"the default device is {torch.get_default_device()}: bring it back with"
            " torch.set_default_device('cpu'), and give device= to the strategy"
        )
    if torch.is_inference_mode_enabled():
        raise InputError(
            "torch.inference_mode() is on here: build, train and evaluate outside of it; evaluation"
            " needs no gradients anyway"
        )
    if device.type == "cpu" and rounds_products():
        raise InputError(
            "torch rounds the factors of products on the CPU to bf16 here: bring it back with"
            ' torch.set_float32_matmul_precision("highest"); for bf16 create the backbone with'
            ' precision="bf16"'
        )


def refuse_autocast(device: torch.device) -> None:
    """Refuse autocast of a device."""
    # Torch knows no autocast of the meta device.
    if torch.is_autocast_enabled("cpu" if device.type == "meta" else device.type):
        raise InputError(
            "torch.autocast is on here, and would change what is learned: leave it out; for bf16"
            ' create the backbone with precision="bf16"'
        )


def rounds_products() -> bool:
    """Whether torch computes products of fp32 on the CPU in bf16, as it may be set in several
    ways and does on some processors alone.

    >>> rounds_products()
    False
    """
    # 1 + 2^-12 has more digits than bf16.
    factor = torch.full((64, 64), 1 + 2**-12)
    return not torch.equal(factor @ torch.eye(64), factor)


def check_tensors(model: ContinualModel, *, without_values: bool = False) -> None:
    """Refuse parameters and buffers that cannot be trained, or are of another type than at the
    first check, which is made when a strategy takes the model. Until its first use buffers may be
    replaced by others of float64.

    Args:
        model: to look at.
        without_values: tensors on the meta device will do, since nothing is trained.

    Raises:
        InputError: says which.
    """
    frozen = {id(parameter) for parameter in model.backbone.parameters()}
    parameters, buffers = [*model.named_parameters()], [*model.named_buffers()]
    for name, tensor in (*parameters, *buffers):
        if tensor.is_meta and not without_values:
            raise InputError(f"{name} is on the meta device, without values: give another device=")
        if tensor.is_inference():
            raise InputError(
                f"{name} was made in torch.inference_mode(): build model and strategy outside of it"
            )
    for name, parameter in parameters:
        of_backbone = id(parameter) in frozen and not model.backbone.trainable
        wanted = PRECISIONS[model.backbone.precision] if of_backbone else torch.float32
        if of_backbone and parameter.requires_grad:
            raise InputError(
                f"{name} of the frozen ViT requires a gradient, but what was computed with it is"
                " kept: leave it frozen, or take a method that trains the ViT, by its backbone_lr"
            )
        if parameter.dtype != wanted:
            raise InputError(
                f"{name} is {parameter.dtype}, and should be {wanted}: leave the model as it was"
                " built, without half() or double(); for bf16 create the backbone with"
                ' precision="bf16"'
            )
    for name, buffer in buffers:
        if buffer.is_floating_point():
            # No model has statistics of less precision.
            built = buffer.dtype if buffer.dtype == torch.float64 else torch.float32
            wanted = model.buffer_types.setdefault(name, built)
            if not model.in_use and buffer.dtype == torch.float64:
                # Values of one's own may have more digits, such as a published projection.
                wanted = model.buffer_types[name] = buffer.dtype
            if buffer.dtype != wanted:
                raise InputError(
                    f"{name} is {buffer.dtype}, and was {wanted}: leave the model as it was built,"
                    " without float() or double()"
                )

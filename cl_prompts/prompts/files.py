"""Prompts on disk: initial values from earlier training."""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from cl_prompts.errors import InputError


def read_prompts(path: str | Path, name: str) -> Tensor:
    """Read prompts from a file.

    MISA (ICLR 2025, arXiv 2503.00677) has released warmed-up prompts for ViT-B/16 as plain tensors,
    ``g_prompt.pt`` and ``e_prompt.pt``.

    Args:
        path: a ``.safetensors`` file, or a ``.pt`` file of one tensor; no code in it is executed.
        name: of the prompts in a ``.safetensors`` file.

    Returns:
        fp32 tensor on the CPU.

    Raises:
        InputError: missing or unreadable file, or an unknown or missing name.
    """
    file = Path(path)
    try:
        if file.suffix == ".safetensors":
            return load_file(file)[name].float()
        return torch.load(file, map_location="cpu", weights_only=True).float()
    except Exception as error:  # both libraries raise whatever their parsers meet
        raise InputError(f"cannot read prompts {name!r} from {file}: {error}") from error


@torch.no_grad()
def set_initial(values: nn.Parameter, prompts: Tensor) -> None:
    """Set a pool's values to given prompts.

    Prompts of shape (size, blocks * length, dim), as in MISA's files, fit values of (size, blocks,
    length, dim). Other shapes need as many rows of the same width for each entry.

    Args:
        values: ``pool.values``.
        prompts: their new values.

    Raises:
        InputError: prompts that do not fit.

    Example:
        >>> from cl_prompts.prompts import SharedTokens
        >>> pool = SharedTokens((0, 1), 10, 16)
        >>> set_initial(pool.values, torch.ones(1, 20, 16))
        >>> bool((pool.values == 1).all())
        True
    """
    # The first axis counts entries; shared prompts are a pool of one.
    same_width = prompts.shape[-1:] == values.shape[-1:]
    if prompts.numel() != values.numel() or not same_width or len(prompts) not in (1, len(values)):
        raise InputError(
            f"initial prompts of shape {tuple(prompts.shape)} do not fit prompts of shape"
            f" {tuple(values.shape)}: they need the same width and as many rows"
        )
    values.copy_(prompts.reshape(values.shape))

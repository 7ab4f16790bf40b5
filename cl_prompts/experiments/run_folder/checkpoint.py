"""Save and load the checkpoint of a run folder.

A checkpoint holds tensors, plain values and containers of them. It is read with
``weights_only=True``, so reading it executes no code.
"""

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files

CHECKPOINT_FILE = "checkpoint"


def save(folder: Path, state: Mapping[str, object]) -> None:
    """Replace the checkpoint of a folder in one step.

    Args:
        folder: run folder.
        state: nested dictionaries, lists and tuples of tensors and plain values.

    Raises:
        InputError: the state contains other objects.
        OSError: the disk is full, for example; :func:`load` still returns the last state.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for step in (1, 2):
        ...     save(folder, {"step": step})
        >>> load(folder)
        {'step': 2}
    """
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    files.replace(folder / CHECKPOINT_FILE, [buffer.getbuffer()])


def load(folder: Path) -> dict[str, Any] | None:
    """Return the state in the checkpoint of a folder; None without a checkpoint.

    Raises:
        InputError: the checkpoint is damaged.
    """
    file = folder / CHECKPOINT_FILE
    if not file.is_file():
        return None
    damaged = InputError(f"{file} is damaged: delete it to start this run again")
    try:
        # torch.load does not compare the checksums of the archive.
        with ZipFile(file) as archive:
            if archive.testzip() is not None:
                raise damaged
        state: dict[str, object] = torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, BadZipFile, pickle.UnpicklingError, LookupError) as error:
        raise damaged from error
    return state


def plain(value: Any, where: str = "state") -> object:
    """Return a state with its tensors on the CPU, each in its own memory.

    Raises:
        InputError: the state contains other objects than tensors, plain values and containers.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        # torch.save writes the whole storage of a view.
        return value if value.untyped_storage().nbytes() == value.nbytes else value.clone()
    if isinstance(value, Mapping):
        return {plain(key, where): plain(part, f"{where}.{key}") for key, part in value.items()}
    if type(value) in (list, tuple, torch.Size):
        parts = [plain(part, f"{where}[{place}]") for place, part in enumerate(value)]
        return parts if isinstance(value, list) else tuple(parts)
    raise InputError(
        f"{where} is of type {type(value).__name__}: use only tensors, numbers, texts, and"
        " dictionaries, lists and tuples of them"
    )

"""Save and load the newest and the previous checkpoint of a run folder.

A checkpoint is the SHA-256 of a ``torch.save`` file, followed by that file, which holds tensors,
plain values and containers of them. It is read with ``weights_only=True``, so reading it executes
no code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files

CHECKPOINT_FILE = "checkpoint"
PREVIOUS_FILE = "checkpoint.previous"


def save(folder: Path, state: Mapping[str, Any]) -> None:
    """Replace the newest checkpoint of a folder, which becomes ``checkpoint.previous``.

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
        ({'step': 2}, None)
        >>> _ = (folder / "checkpoint").write_bytes(b"damaged")
        >>> load(folder)[0]
        {'step': 1}
    """
    buffer = io.BytesIO()
    torch.save(plain(state), buffer)
    content = buffer.getbuffer()
    newest = folder / CHECKPOINT_FILE
    with files.replacing(newest) as temporary:
        files.write(temporary, [hashlib.sha256(content).digest(), content])
        if newest.is_file():
            files.rename(newest, folder / PREVIOUS_FILE)


def load(folder: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the newest intact checkpoint, and a warning if it is the previous one.

    Both are None in a folder without checkpoints.

    Raises:
        InputError: no checkpoint is intact.
    """
    newest = folder / CHECKPOINT_FILE
    there = [file for file in (newest, folder / PREVIOUS_FILE) if file.is_file()]
    for file in there:
        with file.open("rb") as opened:
            digest = opened.read(hashlib.sha256().digest_size)
            content = io.BytesIO(opened.read())
        if hashlib.sha256(content.getbuffer()).digest() == digest:
            state = torch.load(content, map_location="cpu", weights_only=True)
            if file == newest:
                return state, None
            # A damaged checkpoint must not become the previous one.
            newest.unlink(missing_ok=True)
            return state, f"{newest} is damaged or missing: the run continues from {file.name}"
    if there:
        raise InputError(
            f"no checkpoint in {folder} is intact: delete"
            f" {' and '.join(file.name for file in there)} to start this run again"
        )
    return None, None


def plain(value: Any, where: str = "state") -> Any:
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

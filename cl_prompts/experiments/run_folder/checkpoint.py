"""Save and load the newest and the previous checkpoint of a run folder, with their SHA-256.

A checkpoint is a ``torch.save`` file of tensors, plain values and containers of them. It is read
with ``weights_only=True``, so reading it executes no code.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_prompts.checks import sha256
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files

CHECKPOINT_FILE = "checkpoint"
PREVIOUS_FILE = "checkpoint.previous"
#: SHA-256 of both, a line each
DIGESTS_FILE = "checkpoint.sha256"


@dataclass(frozen=True)
class Checkpoint:
    """State of a run, with the length and SHA-256 of its ``metrics.csv`` at that time.

    Attributes:
        state: nested dictionaries, lists and tuples of tensors and plain values.
        metrics: see :meth:`~cl_prompts.experiments.run_folder.files.MetricsFile.record`.
    """

    state: dict[str, Any]
    metrics: Mapping[str, Any]


class Checkpoints:
    """The two newest checkpoints of a folder.

    Example:
        >>> import tempfile
        >>> kept = Checkpoints(Path(tempfile.mkdtemp()))
        >>> for step in (1, 2):
        ...     kept.save(Checkpoint({"step": step}, {}))
        >>> found, warning = kept.load()
        >>> found.state, warning
        ({'step': 2}, None)
        >>> _ = kept.newest.write_bytes(b"damaged")
        >>> found, warning = kept.load()
        >>> found.state
        {'step': 1}
    """

    def __init__(self, folder: Path) -> None:
        self.newest = folder / CHECKPOINT_FILE
        self.previous = folder / PREVIOUS_FILE
        self._digests = folder / DIGESTS_FILE
        self._good: str | None = None  # SHA-256 of the newest, if it is intact

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the newest checkpoint, which becomes ``checkpoint.previous``.

        Raises:
            InputError: the state contains other objects than tensors and plain values.
            OSError: the disk is full, for example; the checkpoints do not change.
        """
        buffer = io.BytesIO()
        content = {"state": plain(checkpoint.state), "metrics": dict(checkpoint.metrics)}
        torch.save(content, buffer)
        digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
        with files.replacing(self.newest) as temporary:
            files.write(temporary, [buffer.getvalue()])
            # Digests first: at any kill, one intact checkpoint is listed.
            digests = [digest, self._good or digest]
            files.replace(self._digests, ["\n".join(digests).encode()])
            if self._good is not None:
                files.rename(self.newest, self.previous)
        self._good = digest

    def load(self) -> tuple[Checkpoint | None, str | None]:
        """Return the newest intact checkpoint, and a warning if it is the previous one.

        Both are None in a folder without checkpoints.

        Raises:
            InputError: no checkpoint is intact.
        """
        known = self._digests.read_text().split() if self._digests.is_file() else []
        there = [file for file in (self.newest, self.previous) if file.is_file()]
        for file in there:
            digest = sha256(file)
            if digest in known:
                content = torch.load(file, map_location="cpu", weights_only=True)
                if file == self.newest:
                    self._good = digest
                    return Checkpoint(**content), None
                warning = f"{self.newest} is damaged or missing: the run continues from {file.name}"
                return Checkpoint(**content), warning
        if there:
            raise InputError(
                f"no checkpoint in {self.newest.parent} is intact: delete"
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

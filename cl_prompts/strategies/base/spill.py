"""Frozen work beyond the memory budget, in files that are mapped into memory."""

from __future__ import annotations

import errno
import os
import tempfile
import weakref
import zlib
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.errors import InputError, RunError
from cl_prompts.models.cached_parts import CachedPart

_BLOCK = 2**20
#: states after which no file of an earlier one is needed: a run keeps its last two
_STATES = 2


class SpilledPart(CachedPart):
    """A cached part whose values lie in a file.

    The file is as large as it will ever be before anything is mapped, since a disk that is full
    would otherwise end the process. Each row has a checksum, which a state holds, so that a file is
    used again only if it is what it was.

    Args:
        version: of the part.
        n: rows.
        width: numbers of a row.
        path: of the file.

    Attributes:
        path: of the file.

    Raises:
        OSError: the file cannot be mapped.

    Example:
        >>> file = Path(tempfile.mkdtemp()) / "part"
        >>> _ = file.write_bytes(bytes(3 * 2 * 4))
        >>> part = SpilledPart(0, n=3, width=2, path=file)
        >>> part.put(torch.tensor([2]), torch.tensor([[1.0, 0.5]]))
        >>> part.values[2].tolist()
        [1.0, 0.5]
    """

    def __init__(self, version: Hashable, n: int, width: int, path: Path) -> None:
        super().__init__(version, n)
        self.path = path
        self._mapped = np.memmap(path, np.float32, mode="r+", shape=(n, width))
        self._sums = torch.zeros(n, dtype=torch.int64)
        self.values = torch.from_numpy(self._mapped)

    def __deepcopy__(self, memo: dict[int, Any]) -> CachedPart:
        """The same in memory, for a copy of the strategy."""
        twin = CachedPart(self.version, len(self.known))
        twin.known, twin.values = self.known.clone(), self.values.clone()
        return twin

    def put(self, rows: Tensor, values: Tensor) -> None:
        """Keep the values (batch, width) of rows (batch,); a GPU waits for them."""
        rows, values = rows.cpu(), values.detach().float().cpu()
        super().put(rows, values)
        self._sums[rows] = torch.tensor([zlib.crc32(row.tobytes()) for row in values.numpy()])

    def record(self) -> dict[str, Any]:
        """What finds the file again and tells that it is the same; the file is on the disk then."""
        self._mapped.flush()
        known = self.known.clone()
        return {
            "path": str(self.path.resolve()),
            "known": known,
            "width": self.values.shape[1],
            "sums": self._sums[known],
        }

    @classmethod
    def found(cls, version: Hashable, record: dict[str, Any]) -> SpilledPart:
        """The part of a record.

        Raises:
            InputError: its file is gone, or is another one.
        """
        path, known = Path(record["path"]), record["known"]
        size = 4 * len(known) * int(record["width"])
        if not path.is_file() or path.stat().st_size != size:
            raise InputError(
                f"frozen work of this run lay in {path}, which is gone: bring the file back, or"
                " start the run again"
            )
        part = cls(version, len(known), int(record["width"]), path)
        rows = known.nonzero()[:, 0]
        for row, total in zip(rows.tolist(), record["sums"].tolist(), strict=True):
            if zlib.crc32(part.values[row].numpy().tobytes()) != total:
                raise InputError(
                    f"{path}, where frozen work of this run lay, is not what it was: bring the"
                    " file back, or start the run again"
                )
        part.known = known.clone()
        part._sums[rows] = record["sums"]
        return part


class Spill:
    """The files of one strategy's frozen work in a folder.

    Files go when their experience ends, or with the strategy; those that a state tells of stay
    until the states of a run that may be resumed tell of them no more, or :meth:`close`.

    Args:
        folder: for the files; it has to exist.

    Attributes:
        bytes: of all files made so far.

    Raises:
        InputError: the folder does not exist or cannot be written to.

    Example:
        >>> spill = Spill(tempfile.mkdtemp())
        >>> part = spill.part(0, n=3, width=2)
        >>> spill.bytes, part.path.stat().st_size
        (24, 24)
        >>> spill.close()
        >>> part.path.exists()
        False
    """

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        if not (self.folder.is_dir() and os.access(self.folder, os.W_OK)):
            raise InputError(
                f"views_spill is {str(folder)!r}: it should be a folder that exists and can be"
                " written to"
            )
        self.bytes = 0
        self._needed: set[Path] = set()
        self._retired: dict[Path, int] = {}
        self._own: set[Path] = set()
        self._loose: set[Path] = set()
        """Own files that no state tells of: they go with the process, however that ends."""
        self._end = weakref.finalize(self, _remove_all, self._loose)

    def __deepcopy__(self, memo: dict[int, Any]) -> Spill:
        """A spill without files, for a copy of the strategy."""
        return Spill(str(self.folder))

    def part(self, version: Hashable, n: int, width: int) -> SpilledPart:
        """A part without values, in a new file.

        Raises:
            RunError: the disk is full, and so on.
        """
        size = 4 * n * width
        path = None
        try:
            handle, name = tempfile.mkstemp(prefix="frozen-", suffix=".f32", dir=self.folder)
            path = Path(name)
            with os.fdopen(handle, "wb") as file:
                for start in range(0, size, _BLOCK):
                    file.write(bytes(min(_BLOCK, size - start)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            if path is not None:
                path.unlink(missing_ok=True)
            why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
            raise RunError(
                f"{size / 1e6:,.0f} MB of frozen work cannot be kept in {self.folder} ({why}): make"
                " room and resume the run, or start it again without views_spill"
            ) from error
        self._own.add(path)
        self._find_loose()
        self.bytes += size
        return SpilledPart(version, n, width, path)

    def leave(self, part: CachedPart) -> None:
        """Remove the file of a part that is not needed any more, unless a state tells of it."""
        if not isinstance(part, SpilledPart):
            return
        if part.path in self._needed:
            self._needed.discard(part.path)
            self._retired[part.path] = 0
        elif part.path in self._own:
            self._own.discard(part.path)
            part.path.unlink(missing_ok=True)
        self._find_loose()

    def _find_loose(self) -> None:
        self._loose.clear()
        self._loose |= self._own - self._needed - self._retired.keys()

    def state_dict(self, parts: dict[str, SpilledPart]) -> dict[str, Any]:
        """Records of the parts in use, whose files now outlive this process."""
        for path, states in list(self._retired.items()):
            if states < _STATES:
                self._retired[path] = states + 1
            else:
                del self._retired[path]
                self._own.discard(path)
                path.unlink(missing_ok=True)
        records = {at: part.record() for at, part in parts.items()}
        self._needed = {part.path for part in parts.values()}
        self._find_loose()
        return {
            "bytes": self.bytes,
            "parts": records,
            "retired": [(str(path), states) for path, states in self._retired.items()],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the files that a state tells of."""
        self.bytes = int(state["bytes"])
        self._needed = {Path(record["path"]) for record in state["parts"].values()}
        self._retired = {Path(path): int(states) for path, states in state["retired"]}
        self._own |= self._needed | self._retired.keys()
        self._find_loose()

    def close(self) -> None:
        """Remove all files: no state is needed any more."""
        self._end.detach()
        _remove_all(self._own)
        self._needed, self._retired = set(), {}


def _remove_all(paths: set[Path]) -> None:
    while paths:
        paths.pop().unlink(missing_ok=True)

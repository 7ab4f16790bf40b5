"""``metrics.csv`` of a run: appended to, and cut back to what it was at a checkpoint."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files

METRICS_FILE = "metrics.csv"
METRICS_HEADER = ["samples_seen", "metric", "scope", "value"]
Row = tuple[int, str, str, float]


class MetricsFile:
    """Writer of ``metrics.csv``: rows (samples_seen, metric, scope, value).

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = MetricsFile(folder)
        >>> table.add([(64, "loss", "train", 0.5)])
        >>> record = table.record()
        >>> table.add([(128, "loss", "train", 0.4)])
        >>> MetricsFile(folder).restore(record)
        >>> (folder / "metrics.csv").read_text().split()
        ['samples_seen,metric,scope,value', '64,loss,train,0.5']
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_FILE
        self._size = 0
        self._digest = hashlib.sha256()

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            OSError: the disk is full, and so on.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        if self._size == 0:
            writer.writerow(METRICS_HEADER)
        # repr is the shortest text that gives the same float again.
        writer.writerows((n, metric, scope, repr(float(value))) for n, metric, scope, value in rows)
        data = out.getvalue().encode()
        files.append(self.path, data)
        self._size += len(data)
        self._digest.update(data)

    def record(self) -> dict[str, Any]:
        """Return length and SHA-256 of the file, which is safe on the disk then."""
        if self._size:
            files.sync(self.path)
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}

    def restore(self, record: Mapping[str, Any] | None) -> None:
        """Drop the rows written after a checkpoint; all rows, if there is none.

        Raises:
            InputError: the file is not what it was at the checkpoint.
        """
        size = 0 if record is None else record["bytes"]
        content = self.path.read_bytes() if self.path.is_file() else b""
        kept = content[:size]
        self._size, self._digest = len(kept), hashlib.sha256(kept)
        if record is not None and self._digest.hexdigest() != record["sha256"]:
            raise InputError(
                f"{self.path} is not what it was at the checkpoint: bring it back, or start a new"
                " run"
            )
        if len(content) > size:
            os.truncate(self.path, size)

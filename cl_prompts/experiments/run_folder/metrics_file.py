"""``metrics.csv`` of a run: appended to, and brought back to what it was at a checkpoint."""

from __future__ import annotations

import csv
import hashlib
import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files
from cl_prompts.reading import TABLE, content

METRICS_FILE = "metrics.csv"
METRICS_HEADER = ["samples_seen", "metric", "scope", "value"]
Row = tuple[int, str, str, float]
#: Bytes up to which a checkpoint holds the rows themselves, and not only their checksum.
KEPT = 2**23


class MetricsFile:
    """Writer of ``metrics.csv``: rows (samples_seen, metric, scope, value).

    Length and SHA-256 of what was written are kept along, so that a checkpoint can say what the
    file held, and the file of a resumed run is that or is refused.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> table = MetricsFile(folder)
        >>> table.add([(64, "loss", "train", 0.5)])
        >>> record, rows = table.record()
        >>> table.add([(128, "loss", "train", 0.4)])
        >>> MetricsFile(folder).restore(record, rows)  # no remark
        >>> (folder / "metrics.csv").read_text().split()
        ['samples_seen,metric,scope,value', '64,loss,train,0.5']
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / METRICS_FILE
        self._note(self._content())

    def _content(self) -> bytes:
        return content(self.path, TABLE) if self.path.is_file() else b""

    def _note(self, content: bytes) -> None:
        self._size = len(content)
        self._digest = hashlib.sha256(content)
        self._kept: list[bytes] = [content]

    def add(self, rows: Sequence[Row]) -> None:
        """Append rows.

        Raises:
            OSError: the disk is full, and so on; the file is left as it was.
            RunError: another program changed the file.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        if self._size == 0:
            writer.writerow(METRICS_HEADER)
        # repr is the shortest text that gives the same float again.
        writer.writerows((n, metric, scope, repr(float(value))) for n, metric, scope, value in rows)
        data = out.getvalue().encode()
        # Another program's rows would be cut off, or kept, at the next resumption.
        self._check_size()
        try:
            files.append(self.path, data)
        except OSError:
            # Some of the rows may have been written.
            if self.path.is_file():
                files.cut(self.path, self._size)
            raise
        self._size += len(data)
        self._digest.update(data)
        self._kept.append(data)
        if self._size > KEPT:
            self._kept.clear()

    def _check_size(self) -> None:
        size = self.path.stat().st_size if self.path.is_file() else 0
        if size != self._size:
            raise RunError(f"another program changed {self.path} while this run wrote to it")

    def record(self) -> tuple[dict[str, Any], bytes | None]:
        """Record of the file for a checkpoint: its length and SHA-256, and its rows, compressed;
        None of more than ``KEPT`` bytes. The file is safe on the disk then."""
        self._check_size()
        if self._size:
            files.sync(self.path)
        # At the fastest level, since every checkpoint waits for it.
        kept = zlib.compress(b"".join(self._kept), 1) if self._size <= KEPT else None
        return {"bytes": self._size, "sha256": self._digest.hexdigest()}, kept

    def restore(self, record: dict[str, Any], rows: bytes | None) -> str | None:
        """Bring the file back to what it was, and drop rows written later.

        Args:
            record: of the checkpoint.
            rows: of the checkpoint; None where it holds none.

        Returns:
            A remark, if the file was damaged and made anew.

        Raises:
            InputError: it is damaged, and the checkpoint holds no rows.
        """
        content, size = self._content(), record["bytes"]
        same = hashlib.sha256(content[:size]).hexdigest() == record["sha256"]
        # Rows after the checkpoint will be written again by the run that goes on.
        if same and len(content) > size:
            files.cut(self.path, size)
        remark = None
        if not same:
            wrong = f"{self.path} is not what it was at the checkpoint"
            if rows is None:
                raise InputError(f"{wrong}, which holds no copy of it: the run has to start again")
            remark = f"{wrong} and was rebuilt from it"
            content = zlib.decompress(rows)
            files.replace(self.path, [content])
        self._note(content[:size])
        return remark

    def clear(self) -> None:
        """Start again without rows."""
        if self.path.is_file():
            files.cut(self.path, 0)
        self._note(b"")

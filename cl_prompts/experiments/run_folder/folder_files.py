"""Plain files of a folder: written in one step, and read with a sentence for each damage."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files


class FolderFiles:
    """Reader and writer of the files in a folder.

    Args:
        path: of the folder.

    Example:
        >>> import tempfile
        >>> folder = FolderFiles(Path(tempfile.mkdtemp()))
        >>> folder.write_json("summary.json", {"status": "running"})
        >>> folder.read_json("summary.json")
        {'status': 'running'}
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @contextmanager
    def writing(self, name: str) -> Iterator[None]:
        """Say in one sentence that a file cannot be written."""
        try:
            yield
        except OSError as error:
            raise RunError(f"{self.path / name} cannot be written: {reason_of(error)}") from error

    def replace(self, name: str, parts: Iterable[bytes]) -> None:
        """Replace a file in one step: readers see the old content or the new one.

        Raises:
            RunError: it cannot be written.
        """
        with self.writing(name):
            files.replace(self.path / name, parts)

    def write_text(self, name: str, text: str) -> None:
        """Replace a text file in one step."""
        self.replace(name, [text.encode()])

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON file in one step."""
        self.write_text(name, json_text(value))

    def write_arrays(self, name: str, **arrays: np.ndarray) -> None:
        """Replace a ``.npz`` file of arrays in one step."""
        out = io.BytesIO()
        np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
        self.replace(name, [out.getvalue()])

    def read_text(self, name: str) -> str:
        """Content of a text file.

        Raises:
            InputError: it cannot be read, or is no text.
        """
        file = self.path / name
        try:
            return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
            raise InputError(f"{file} cannot be read: {reason}") from error

    def read_json(self, name: str) -> dict[str, Any]:
        """Content of a JSON file.

        Raises:
            InputError: it cannot be read, or is no JSON object.
        """
        try:
            value = json.loads(self.read_text(name))
        except (ValueError, RecursionError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"{self.path / name} is damaged: it is not JSON") from error
        if not isinstance(value, dict):
            raise InputError(f"{self.path / name} is damaged: it is no mapping")
        return value


def json_text(value: Any) -> str:
    """JSON as files hold it, one entry a line."""
    return json.dumps(value, indent=1)


def reason_of(error: OSError) -> str:
    """Why the system refused, in its words."""
    return error.strerror or str(error)

"""Plain files of a folder: whole or refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder.folder_files import FolderFiles
from tests.experiments.faults import with_fault


def test_files_come_back(tmp_path: Path) -> None:
    folder = FolderFiles(tmp_path)
    folder.write_text("a.txt", "ä\n")
    folder.write_json("b.json", {"x": [1, None]})
    folder.write_arrays("c.npz", values=np.arange(3))
    assert folder.read_text("a.txt") == "ä\n"
    assert folder.read_json("b.json") == {"x": [1, None]}
    assert np.load(tmp_path / "c.npz")["values"].tolist() == [0, 1, 2]
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "is damaged: it is not JSON"),
        (b"[1]", "is damaged: it is no mapping"),
        (b"[" * 100_000, "is damaged: it is not JSON"),
        (b"\xff{}", "cannot be read: it is not UTF-8"),
        (b"\0" * 20, "is damaged: it is not JSON"),
        (b"", "is damaged: it is not JSON"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_damages_are_told(content: bytes | None, says: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"a\.json {says}"):
        FolderFiles(tmp_path).read_json("a.json")


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = FolderFiles(tmp_path)
    with pytest.raises(RunError, match=r"a\.txt cannot be written: No space left on device"):
        with_fault(monkeypatch, 0, "full", lambda: folder.write_text("a.txt", "text"))
    assert not list(tmp_path.iterdir())

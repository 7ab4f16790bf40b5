"""Files are replaced in one step, whatever fails."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from cl_prompts.experiments.run_folder import files
from tests.experiments.faults import Fault, count_steps, with_fault


def test_parts_are_joined_and_names_come_last(tmp_path: Path) -> None:
    file = tmp_path / "a"
    files.replace(file, [b"x" * 3, b"", b"y"])
    assert file.read_bytes() == b"xxxy"
    files.append(file, b"z")
    files.cut(file, 2)
    files.append(file, b"z")
    assert file.read_bytes() == b"xxz"
    files.overwrite(file, b"new")
    assert file.read_bytes() == b"new"
    files.remove(file)
    files.remove(file)
    with pytest.raises(FileNotFoundError):
        files.overwrite(file, b"new")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_fault_leaves_the_old_content_or_the_new(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"

    def action() -> None:
        files.replace(file, [b"new", b"new"])

    steps = count_steps(monkeypatch, action)
    seen = set()
    for at in range(steps):
        file.write_bytes(b"old")
        if fault == "full":
            with pytest.raises(OSError, match="No space left"):
                with_fault(monkeypatch, at, fault, action)
            assert [f.name for f in tmp_path.iterdir()] == ["a"]
        else:
            with_fault(monkeypatch, at, fault, action)
        seen.add(file.read_bytes())
    assert seen <= {b"old", b"newnew"}
    assert b"old" in seen

"""Files are whole whatever fails, and refused with a sentence where they are damaged."""

from __future__ import annotations

import csv
import errno
import io
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.files import FolderFiles
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


def test_links_are_not_written_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    link = folder / "a"
    link.symlink_to(victim)
    hard = folder / "hard"
    hard.hardlink_to(victim)
    for write in (
        files.append,
        files.overwrite,
        lambda path, data: files.create(path, [data]),
        lambda path, data: files.cut(path, 0),
    ):
        for name in (link, hard):
            with pytest.raises(OSError, match=r"File exists|symbolic links|put a copy of the file"):
                write(name, b"theirs")
    assert victim.read_bytes() == b"mine"
    # No name of a temporary file can be foreseen, and one that is there is not written to.
    assert files.temporary_of(link) != files.temporary_of(link)
    monkeypatch.setattr(files.secrets, "token_hex", lambda size: "0" * size)
    files.temporary_of(link).symlink_to(victim)
    with pytest.raises(FileExistsError):
        files.replace(link, [b"theirs"])
    monkeypatch.undo()
    files.replace(link, [b"theirs"])
    assert not link.is_symlink()
    assert link.read_bytes() == b"theirs"
    assert victim.read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=cmd|'/c calc'!A1", "'=cmd|'/c calc'!A1"),
        ("+x", "'+x"),
        ("-x.png", "'-x.png"),
        ("@SUM(1)", "'@SUM(1)"),
        *[(f"cat{sign}=1;-2", f"cat{sign}'=1;-2") for sign in ";\t\n"],
        ("\t=1", "\t'=1"),
        ("cat\r=1", "cat '=1"),
        ("-1.5e3", "-1.5e3"),
        ("cat", "cat"),
        ("", ""),
        *[(f"{sign}1+1", f"'{sign}1+1") for sign in "\uff1d\uff0b\uff0d\uff20"],
        *[(text, f"'{text}") for text in ("-inf", "+nan", "-1_0", "-1\u0661", "-0x1", "-")],
        *[(text, text) for text in ("-1.5e-3", "+.5", "-7.", "-0")],
    ],
)
def test_no_cell_is_a_formula(cell: str, written: str) -> None:
    text = files.csv_text([["label", cell], [1, -2.5]])
    assert list(csv.reader(io.StringIO(text, newline=""))) == [["label", written], ["1", "-2.5"]]


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
            with pytest.raises(OSError, match=f"No space left.*'{file}'"):
                with_fault(monkeypatch, at, fault, action)
            assert [f.name for f in tmp_path.iterdir()] == ["a"]
        else:
            with_fault(monkeypatch, at, fault, action)
        seen.add(file.read_bytes())
    assert seen <= {b"old", b"newnew"}
    assert b"old" in seen


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


@pytest.mark.parametrize("fault", get_args(Fault))
def test_a_new_file_is_whole_and_replaces_none(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a"

    def action() -> None:
        files.write_new(file, [b"new", b"new"])

    for at in range(count_steps(monkeypatch, action)):
        with pytest.raises(InputError, match="a exists already: remove it, or give --out another"):
            action()
        assert file.read_bytes() == b"newnew"
        assert [f.name for f in tmp_path.iterdir()] == ["a"]
        file.unlink()
        if fault == "full":
            with pytest.raises(OSError, match=f"No space left.*'{file}'"):
                with_fault(monkeypatch, at, fault, action)
            assert not list(tmp_path.glob(".*"))
        else:
            with_fault(monkeypatch, at, fault, action)
        # The name may have been taken, and nothing more.
        assert not file.exists() or file.read_bytes() in (b"", b"newnew")
        for left in tmp_path.iterdir():
            left.unlink()
        action()
    file.unlink()
    file.symlink_to(tmp_path / "nowhere")
    with pytest.raises(InputError, match="a exists already"):
        action()


def test_a_place_is_tried_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.check_place(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    (tmp_path / "old").touch()
    with pytest.raises(InputError, match="old exists already: remove it"):
        files.check_place(tmp_path / "old")
    with pytest.raises(InputError, match=r"there is no folder .*nowhere"):
        files.check_place(tmp_path / "nowhere" / "new")

    def refuse(path: Path, parts: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(files, "create", refuse)
    with pytest.raises(InputError, match="new cannot be written: Read-only file system"):
        files.check_place(tmp_path / "new")

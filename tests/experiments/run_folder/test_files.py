"""Files are whole or not there, and what cannot be read or written is one sentence."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files
from tests.experiments.faults import Fault, contents, count_steps, with_fault


@pytest.mark.parametrize("fault", ["killed before", "killed half-way", "full"])
def test_whatever_happens_a_file_is_the_old_one_or_the_new_one(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.txt"

    def action() -> None:
        files.replace(file, [b"new", b" content"])

    action()
    for at in range(count_steps(monkeypatch, action)):
        file.write_bytes(b"old content")
        with suppress(OSError):  # of a full disk
            with_fault(monkeypatch, at, fault, action)
        if fault == "full":
            assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
        assert contents(tmp_path) in ({"a.txt": b"old content"}, {"a.txt": b"new content"})


def test_a_file_has_the_usual_permissions(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", [b""])
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~mask


def test_what_exists_is_not_written_over(tmp_path: Path) -> None:
    files.replace(tmp_path / "a", [b"mine"])
    with pytest.raises(InputError, match="a exists already: remove it, or choose another --out"):
        files.check_place(tmp_path / "a")
    with pytest.raises(InputError, match=r"folder .*nowhere is missing"):
        files.check_place(tmp_path / "nowhere" / "a")


def test_what_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text('{"a": 1')
    (tmp_path / "latin.txt").write_bytes("\u00e9".encode("latin-1"))
    with pytest.raises(InputError, match=r"list\.json is not JSON: restore it"):
        files.read_json(tmp_path / "list.json")
    with pytest.raises(InputError, match=r"latin\.txt cannot be read: it is not UTF-8"):
        files.read_text(tmp_path / "latin.txt")
    with pytest.raises(InputError, match=r"none\.txt cannot be read: No such file"):
        files.read_text(tmp_path / "none.txt")


@pytest.mark.parametrize("at", [0, 1])
@pytest.mark.parametrize("fault", [OSError, KeyboardInterrupt])
def test_whatever_happens_a_folder_is_the_old_one_or_the_new_one(
    fault: type[BaseException], at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "model"
    replace_folder(folder, b"old")
    with monkeypatch.context() as patch:
        patch.setattr(files, "rename", failing(at, fault))
        with pytest.raises(fault):
            replace_folder(folder, b"new")
    assert contents(folder) == {"a": b"old"}
    replace_folder(folder, b"new")
    assert contents(folder) == {"a": b"new"}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def replace_folder(folder: Path, content: bytes) -> None:
    with files.replacing_folder(folder) as new:
        (new / "a").write_bytes(content)


def failing(at: int, fault: type[BaseException]) -> Callable[[Path, Path], None]:
    original, calls = files.rename, iter(range(10))

    def rename(old: Path, new: Path) -> None:
        if next(calls) == at:
            raise fault
        original(old, new)

    return rename

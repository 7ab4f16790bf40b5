"""Lists of files: what is found, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cl_prompts.datasets.files import Folders, LayoutError, by_key, check_files, table
from tests.datasets.toys import refusal, write_image


def test_a_table_is_read_by_columns(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("1 7 x\n\n2\t8\n")
    assert table(file, 2, ints=True, unread=1) == [["1", "7"], ["2", "8"]]
    with pytest.raises(
        LayoutError, match=r"row 1 of .*labels\.txt is not as it should be: '1 7 x'"
    ):
        table(file, 2)
    with pytest.raises(LayoutError, match=r"row 2 of .*labels\.txt is not as it should be: '2 8'"):
        table(file, 3)


def test_a_folder_is_listed_once_and_links_are_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_image(tmp_path / "a.png")
    write_image(tmp_path / "b.png")
    os.symlink(tmp_path / "a.png", tmp_path / "link.png")
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr("os.scandir", lambda path: listed.append(str(path)) or scan(path))
    folders = Folders()
    found = [folders.find(str(tmp_path / name)) for name in ("a.png", "link.png", "none.png")]
    assert found == [str(tmp_path / "a.png"), str(tmp_path / "a.png"), None]
    assert listed == [str(tmp_path)]


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_one_file_under_two_names_is_found(tmp_path: Path, link: Callable[..., None]) -> None:
    for name in ("a", "b", "c"):
        write_image(tmp_path / f"{name}.png")
    link(tmp_path / "b.png", tmp_path / "d.png")
    a, b, c, d = (str(tmp_path / f"{name}.png") for name in "abcd")
    check_files("data set 'x'", [a, b], [c])
    for part, parts in (("training", ([a, b, d], [c])), ("test", ([a], [b, c, d]))):
        assert refusal(lambda parts=parts: check_files("data set 'x'", *parts)) == (
            f"{part} images of data set 'x' hold one file twice, as {b} and as {d}: each image"
            " counts once, so remove one of the two"
        )
    assert "hold one file twice" in refusal(lambda: check_files("data set 'x'", [a, b, a], [c]))
    assert refusal(lambda: check_files("data set 'x'", [a, b], [c, d])) == (
        f"1 test images of data set 'x' are training images too, the first is {d} (in training:"
        f" {b}): no test image may be seen in training"
    )
    (tmp_path / "a.png").unlink()
    said = refusal(lambda: check_files("data set 'x'", [a], [c]))
    assert said == f"image {a} of data set 'x' cannot be read: No such file or directory"


def test_an_entry_that_stands_twice_is_named() -> None:
    assert by_key([("a", 1), ("b", 2)], "list.txt") == {"a": 1, "b": 2}
    said = refusal(lambda: by_key([("a", 1), ("b", 2), ("a", 1)], "list.txt", "class"))
    assert said == "list.txt lists class a twice: give each once"


def test_numbers_that_no_machine_holds_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text(f"1 {'9' * 5000}\n")
    with pytest.raises(LayoutError, match="row 1 of") as found:
        table(file, 2, ints=True)
    assert len(str(found.value)) < 400

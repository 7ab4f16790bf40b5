"""Folders and lists of image files: what is found, in which order, and what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cl_prompts.datasets.files import Folders, LayoutError, class_folders, scan_images, table
from tests.datasets.toys import write_image


def test_images_come_in_sorted_order_from_folders_of_any_depth(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.png", "a.png", "b/c/1.JPG", "b-c/1.png", "z/.hidden.png", "z/1.txt"]
    for name in names:
        write_image(tmp_path / "one" / name.replace(".txt", ".png"))
    (tmp_path / "one" / "z" / "1.png").rename(tmp_path / "one" / "z" / "1.txt")
    write_image(tmp_path / "two" / "a.png")
    paths, positions = scan_images([tmp_path / "one", tmp_path / "two"])
    found = [os.path.relpath(path, tmp_path) for path in paths]
    # Folders are sorted by their whole path, in which "-" comes before "/".
    assert found == [
        *("one/a.png", "one/b/10.png", "one/b/2.png", "one/b-c/1.png", "one/b/c/1.JPG"),
        "two/a.png",
    ]
    assert positions.tolist() == [0, 0, 0, 0, 0, 1]


def test_class_folders_are_sorted_and_visible(tmp_path: Path) -> None:
    for name in ("b", "a", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.png").touch()
    assert class_folders(tmp_path) == ("a", "b")


def test_a_table_is_read_by_columns(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("1 7 x\n\n2\t8\n")
    assert table(file, 2, ints=True) == [["1", "7"], ["2", "8"]]
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

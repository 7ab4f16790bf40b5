"""Folders of images: order, links in circles and out of the class, and what is no image."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.datasets.folders import class_folders, scan_images
from tests.datasets.toys import load, refusal, write_folder, write_image


def test_images_come_in_sorted_order_from_folders_of_any_depth(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.png", "a.png", "b/c/1.JPG", "b-c/1.png", "z/.hidden.png", "z/1.txt"]
    for name in names:
        write_image(tmp_path / "one" / name.replace(".txt", ".png"))
    (tmp_path / "one" / "z" / "1.png").rename(tmp_path / "one" / "z" / "1.txt")
    write_image(tmp_path / "two" / "a.png")
    images = scan_images([tmp_path / "one", tmp_path / "two"])
    found = [os.path.relpath(path, tmp_path) for path in images.paths]
    # Folders are sorted by their whole path, in which "-" comes before "/".
    assert found == [
        *("one/a.png", "one/b/10.png", "one/b/2.png", "one/b-c/1.png", "one/b/c/1.JPG"),
        "two/a.png",
    ]
    assert images.positions.tolist() == [0, 0, 0, 0, 0, 1]
    assert images.unread == Counter({".txt": 1})


def test_class_folders_are_sorted_and_visible(tmp_path: Path) -> None:
    for name in ("b", "a", ".git"):
        (tmp_path / name).mkdir()
    (tmp_path / "c.png").touch()
    assert class_folders(tmp_path) == ("a", "b")


def test_links_to_files_and_class_folders_are_followed(tmp_path: Path) -> None:
    write_image(tmp_path / "store" / "a.png")
    os.symlink(tmp_path / "store", tmp_path / "ant")
    (tmp_path / "bee").mkdir()
    os.symlink(tmp_path / "store" / "a.png", tmp_path / "bee" / "b.png")
    images = scan_images([tmp_path / "ant", tmp_path / "bee"])
    assert images.paths == [str(tmp_path / "ant" / "a.png"), str(tmp_path / "bee" / "b.png")]
    assert class_folders(tmp_path) == ("ant", "bee", "store")


@pytest.mark.parametrize("target", [".", "deep"])
def test_links_within_a_class_add_no_image(tmp_path: Path, target: str) -> None:
    write_image(tmp_path / "ant" / "a.png")
    write_image(tmp_path / "ant" / "deep" / "b.png")
    os.symlink(tmp_path / "ant" / target, tmp_path / "ant" / "deep" / "link")
    names = [os.path.basename(path) for path in scan_images([tmp_path / "ant"]).paths]
    assert names == ["a.png", "b.png"]


@pytest.mark.parametrize("target", ["..", "../bee", "/", ".hidden", ".hidden/deep"])
def test_links_to_folders_that_are_not_walked_are_refused(tmp_path: Path, target: str) -> None:
    root = write_folder(tmp_path)
    write_image(root / "train" / "ant" / ".hidden" / "deep" / "a.png")
    os.symlink(target, root / "train" / "ant" / "link")
    said = refusal(lambda: load("folder", root))
    assert f"({root}/train/ant/link is a link to a folder outside of {root}/train/ant, or" in said


def test_a_class_within_a_class_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for part in ("train", "test"):
        os.symlink("..", root / part / "loop")
    said = refusal(lambda: load("folder", root))
    assert f"({root}/train/ant lies inside of {root}/train/loop: each class" in said
    for part in ("train", "test"):
        (root / part / "loop").unlink()
        os.symlink("bee", root / part / "wasp")
    said = refusal(lambda: load("folder", root))
    assert f"({root}/train/wasp is the same folder as {root}/train/bee: each class" in said


def test_a_circle_of_links_leads_to_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    os.symlink("round", root / "train" / "ant" / "round")
    assert load("folder", root).unread == Counter({"": 1})
    os.symlink("round.png", root / "train" / "ant" / "round.png")
    assert "train/ant/round.png is a broken link" in refusal(lambda: load("folder", root))
    os.symlink("a", root / "train" / "a")
    assert "train/a is a broken link" in refusal(lambda: load("folder", root))


def test_images_that_are_no_files_are_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    fifo = root / "train" / "ant" / "z.png"
    os.mkfifo(fifo)
    sentence = f"(image {fifo} is a broken link, a FIFO, a socket or a device)"
    assert sentence in refusal(lambda: load("folder", root))
    fifo.unlink()
    os.symlink("gone.png", fifo)
    assert sentence in refusal(lambda: load("folder", root))


def test_an_unreadable_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path)
    locked = root / "train" / "ant" / "locked"
    locked.mkdir()
    scan = os.scandir

    def refuse(path: Any) -> Any:
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr("os.scandir", refuse)
    said = refusal(lambda: load("folder", root))
    assert f"(folder {locked} cannot be read: Permission denied)" in said


def test_other_files_are_counted(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    for name in ("1.gif", "2.GIF", "notes", ".hidden.txt"):
        (root / "train" / "ant" / name).touch()
    (root / "test" / "bee" / "3.avif").touch()
    data = load("folder", root)
    assert data.unread == Counter({".gif": 2, "": 1, ".avif": 1})
    assert str(data).endswith("test images; no image files: 2 .gif, 1 without suffix, 1 .avif")
    for k in range(3):
        (root / "train" / "ant" / f"{k}.png").unlink()
    said = refusal(lambda: load("folder", root))
    assert ".webp; there is 2 .gif, 1 without suffix)" in said


def test_a_file_in_training_and_test_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    os.link(root / "train" / "ant" / "1.png", root / "test" / "ant" / "z.png")
    said = refusal(lambda: load("folder", root))
    assert said.startswith("1 test images of data set 'folder' are training images too, the first")

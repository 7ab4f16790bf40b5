"""Folders of images: order, circular links, links out of a class, files that are not images."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from cl_prompts.datasets.folders import class_folders, scan_images
from tests.datasets.toys import load, refusal, write_folder, write_image


def test_images_come_in_sorted_order_from_folders_of_any_depth(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.png", "a.png", "b/c/1.JPG", "b-c/1.png", "z/.hidden.png", "z/1.txt"]
    for name in names:
        write_image(tmp_path / "one" / name.replace(".txt", ".png"))
    (tmp_path / "one" / "z" / "1.png").rename(tmp_path / "one" / "z" / "1.txt")
    write_image(tmp_path / "two" / "a.png")
    images = scan_images([tmp_path / "one", tmp_path / "two"])
    found = [os.path.relpath(str(path), tmp_path) for path in images.files]
    # Folders are sorted by their whole path, in which "-" comes before "/".
    assert found == [
        *("one/a.png", "one/b/10.png", "one/b/2.png", "one/b-c/1.png", "one/b/c/1.JPG"),
        "two/a.png",
    ]
    assert images.labels.tolist() == [0, 0, 0, 0, 0, 1]
    assert images.unread == Counter({".txt": 1})


def test_links_to_files_and_class_folders_are_followed(tmp_path: Path) -> None:
    write_image(tmp_path / "store" / "a.png")
    os.symlink(tmp_path / "store", tmp_path / "ant")
    (tmp_path / "bee").mkdir()
    os.symlink(tmp_path / "store" / "a.png", tmp_path / "bee" / "b.png")
    images = scan_images([tmp_path / "ant", tmp_path / "bee"])
    assert images.files == [str(tmp_path / "ant" / "a.png"), str(tmp_path / "bee" / "b.png")]
    assert class_folders(tmp_path) == ("ant", "bee", "store")


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
    assert ".webp), but 2 .gif, 1 without suffix" in said

"""Sentences on what is found in folders of one's own images."""

from __future__ import annotations

from pathlib import Path

from cl_prompts.experiments.runner.own_images import survey
from tests.experiments.own_photos import photo, photos


def test_a_folder_with_parts_is_told_in_lines(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"cat": 4, "dog": 2})
    photos(tmp_path / "test", {"cat": 1, "dog": 1}, first=500)
    photo(tmp_path / "train" / "cat" / "large.png", 1, (40, 30))
    (tmp_path / "train" / "cat" / "broken.jpg").write_text("no image")
    (tmp_path / "train" / "cat" / "new.HEIC").write_text("?")
    photo(tmp_path / "test" / "cat" / "copy.bmp", 0)  # the pixels of train/cat/000.png
    photo(tmp_path / "train" / "dog" / "again.png", 1)
    found = survey(tmp_path)
    assert found.settings == {
        "name": "folder",
        "root": str(tmp_path.resolve()),
        "on_bad_image": "skip",
    }
    train = tmp_path / "train"
    assert found.lines() == [
        "2 classes, 8 training and 3 test images",
        "training images of a class: 3 (dog) to 5 (cat), 1.7 : 1",
        "images of 10 x 8 to 40 x 30 pixels, median shorter side 8",
        "warning: 1 image that cannot be read, to be left out: image"
        f" {train / 'cat' / 'broken.jpg'} cannot be read: it is of no format that is read",
        "warning: no image files: 1 .heic; save HEIC images as JPEG to use them",
        f"warning: 1 image under two labels or more, with the same pixels, the first is"
        f" {train}/cat/001.png (cat) = {train}/dog/again.png (dog): keep the right one",
        "warning: 1 test image equal to a training image, the first is"
        f" {tmp_path}/test/cat/copy.bmp = {train}/cat/000.png: remove it on one side",
        "warning: 1 training image equal to another training image",
    ]

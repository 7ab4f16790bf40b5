"""What is found in folders and tables of one's own images."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.errors import InputError
from cl_prompts.experiments.runner.own_images import survey
from tests.experiments.own_photos import photo, photos


def test_a_folder_with_parts_is_told_in_lines(tmp_path: Path) -> None:
    photos(tmp_path / "train", {"cat": 4, "dog": 2})
    photos(tmp_path / "test", {"cat": 1, "dog": 1}, first=500)
    photo(tmp_path / "train" / "cat" / "large.png", 1, (40, 30))
    (tmp_path / "train" / "cat" / "broken.jpg").write_text("no image")
    (tmp_path / "train" / "cat" / "new.HEIC").write_text("?")
    photo(tmp_path / "test" / "cat" / "copy.bmp", 0)  # the pixels of train/cat/000.png
    photo(tmp_path / "train" / "dog" / "again.png", 1001)
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
        f"1 image that cannot be read, to be left out: image {train / 'cat' / 'broken.jpg'} cannot"
        f" be read: cannot identify image file '{train / 'cat' / 'broken.jpg'}'",
        "no image files: 1 .heic; save HEIC images as JPEG to use them",
        f"1 test image equal to a training image, the first is {tmp_path}/test/cat/copy.bmp ="
        f" {train}/cat/000.png: remove it on one side",
        "1 training image equal to another training image",
    ]


def test_class_folders_alone_are_divided_as_the_run_will_divide_them(tmp_path: Path) -> None:
    photos(tmp_path, {"cat": 10, "dog": 5})
    found = survey(tmp_path, test_percent=40, seed=3)
    assert found.settings["test_percent"] == 40
    assert found.lines()[1].startswith("there is no test part: 40 % of the images are test images")
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset("folder", image_size=8, **settings)
    assert tuple(look.path for look in found.train) == data.train.files
    assert tuple(look.path for look in found.test) == data.test.files
    assert found.counts == {"cat": 6, "dog": 3}
    assert found.lines()[3] == "every image has 10 x 8 pixels"


def test_a_table_without_parts_is_divided_into_two(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 20})
    rows = [f"images/all/{i:03d}.png,{'cat' if i % 2 else 'dog;owl'}" for i in range(20)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label", *rows]))
    out = tmp_path / "out"
    found = survey(table, tables=out)
    assert found.multi_label
    assert found.settings == {"name": "csv", "root": str(out.resolve())}
    assert found.lines()[0] == "3 classes, several labels per image, 16 training and 4 test images"
    data = load_dataset("csv", image_size=8, root=out)
    assert (len(data.train), len(data.test)) == (16, 4)
    assert survey(out / "train.csv").lines()[0] == found.lines()[0]
    with pytest.raises(InputError, match=r"train\.csv exists already"):
        survey(table, tables=out)
    others = [survey(table, tables=tmp_path / f"out{seed}", seed=seed).test for seed in (1, 2)]
    assert len({tuple(look.path for look in test) for test in (found.test, *others)}) == 3


def test_folders_of_the_same_classes_are_domains(tmp_path: Path) -> None:
    for number, domain in enumerate(("sketch", "art")):
        photos(tmp_path / domain, {"cat": 5, "dog": 10}, first=5000 * number)
    found = survey(tmp_path)
    assert found.domains == ("art", "sketch")
    assert found.settings["domains"] is True
    assert found.lines()[:3] == [
        "2 classes, 24 training and 6 test images",
        "2 domains: art, sketch; folders are read as <domain>/<class>/*, since they hold folders of"
        " the same names",
        "there is no test part: 20 % of the images are test images, chosen by seed 0, of each class"
        " in each domain",
    ]
    settings = {key: value for key, value in found.settings.items() if key != "name"}
    data = load_dataset("folder", image_size=8, **settings)
    assert tuple(look.path for look in found.train) == data.train.files
    for part, first in (("train", 0), ("test", 9000)):
        for number, domain in enumerate(("sketch", "art")):
            folder = tmp_path / "parts" / part / domain
            photos(folder, {"cat": 2, "dog": 2}, first=first + 30000 + 5000 * number)
    parts = survey(tmp_path / "parts")
    assert parts.domains == ("art", "sketch")
    assert not parts.split


def test_a_table_of_domains_is_divided_in_each(tmp_path: Path) -> None:
    photos(tmp_path / "images", {"all": 20})
    names = [("cat", "dog")[i % 2] for i in range(20)]
    rows = [f"images/all/{i:03d}.png,{names[i]},{'new' if i > 9 else 'old'}" for i in range(20)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join(["path,label,domain", *rows]))
    found = survey(table, tables=tmp_path / "out")
    assert found.domains == ("new", "old")
    assert not found.multi_label
    assert found.lines()[1] == "2 domains: new, old"
    data = load_dataset("csv", image_size=8, root=tmp_path / "out")
    assert data.test.domains is not None
    cells = zip(data.test.domains.tolist(), data.test.targets.tolist(), strict=True)
    assert sorted(cells) == [("new", 0), ("new", 1), ("old", 0), ("old", 1)]


def test_what_cannot_be_learned_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no folder or table"):
        survey(tmp_path / "nowhere")
    photos(tmp_path / "one", {"cat": 4})
    with pytest.raises(InputError, match="there is one class, 'cat': at least two are needed"):
        survey(tmp_path / "one")
    photos(tmp_path / "two", {"cat": 4, "dog": 2})
    for file in (tmp_path / "two" / "dog").iterdir():
        file.write_text("no image")
    with pytest.raises(InputError, match="class 'dog' has no training image that can be read"):
        survey(tmp_path / "two")

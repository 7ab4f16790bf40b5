"""COCO in miniature: label rules, and what each refusal says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.datasets import coco
from tests.datasets.toys import grey, load, refusal, shown, write_coco


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco(tmp_path: Path, year: int) -> None:
    data = load(f"coco{year}", write_coco(tmp_path, year))
    assert len(data.classes) == 80
    assert (data.classes[0], data.classes[1], data.classes[79]) == ("airplane", "apple", "zebra")
    assert grey(data.train) == pytest.approx([30, 50, 70], abs=1)  # in the order of ids
    assert data.train.targets.sum(axis=1).tolist() == [40, 0, 40]
    names = list(coco.CATEGORIES.values())
    assert shown(data, 2) == set(names[:40])  # crowds count
    assert shown(data, 0) == set(names[40:])
    assert data.test.targets.tolist() == [[1] * 80]


def edited(file: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def overwritten(position: int, entry: dict[str, Any]) -> Callable[[Any], None]:
    return lambda content: content["categories"].__setitem__(position, entry)


def annotated(image: int, category: int) -> Callable[[Any], None]:
    entry = {"image_id": image, "category_id": category}
    return lambda content: content["annotations"].append(entry)


def put(part: str, row: int, key: str, value: Any) -> Callable[[Any], None]:
    return lambda content: content[part][row].__setitem__(key, value)


def numbered(*numbers: Any) -> Callable[[Any], None]:
    return lambda content: [
        entry.update(id=number)
        for entry, number in zip(content["annotations"], numbers, strict=False)
    ]


FIRST = "COCO_train2014_000000000007.jpg"
GONE = [{"id": 100 + k, "file_name": f"gone_{k}.jpg"} for k in range(3)]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (overwritten(0, {"id": 1, "name": "dog"}), "id 1 is 'dog', and should be 'person'"),
        (overwritten(0, {"id": 12, "name": "sign"}), "2 category ids of {file} do not match"),
        (annotated(7, 91), "{file} has an instance of category 91, which is none of COCO's 80"),
        (annotated(8, 1), "{file} annotates image 8, which it does not list"),
        (lambda content: content.pop("annotations"), "is no file of COCO instances: KeyError"),
        (put("images", 0, "file_name", "\ud800"), "images that are missing, the first is"),
        (put("images", 1, "id", 7), "{file} lists image id 7 twice: give each once"),
        (put("images", 1, "file_name", FIRST), "{file} lists image {folder}/train2014/" + FIRST),
        (put("categories", 1, "id", 1), "{file} lists category id 1 twice"),
        (numbered(3, 3), "{file} lists annotation id 3 twice: give each once"),
        (lambda content: content["images"].extend(GONE), "first is {folder}/train2014/gone_0.jpg"),
    ],
)
def test_coco_refusals(tmp_path: Path, change: Callable[[Any], None], sentence: str) -> None:
    file = write_coco(tmp_path) / "annotations" / "instances_train2014.json"
    edited(file, change)
    said = refusal(lambda: load("coco2014", tmp_path))
    assert sentence.format(file=file, folder=tmp_path) in said
    assert "which should hold train2014/, val2014/ and annotations/instances_{train,val}2" in said


def test_coco_refuses_absent_and_broken_files(tmp_path: Path) -> None:
    file = write_coco(tmp_path) / "annotations" / "instances_val2014.json"
    file.write_text("{")
    assert f"({file} is no JSON: " in refusal(lambda: load("coco2014", tmp_path))
    file.unlink()
    assert f"({file} is missing)" in refusal(lambda: load("coco2014", tmp_path))


def test_coco_size_opens_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folders are listed and two files of annotations read, for any number of images."""
    write_coco(tmp_path)
    folder = tmp_path / "train2014"
    for k in range(100, 3000):
        (folder / f"{k}.jpg").touch()

    def more(content: Any) -> None:
        content["images"] += [{"id": k, "file_name": f"{k}.jpg"} for k in range(100, 3000)]
        content["annotations"] += [{"image_id": k, "category_id": 1} for k in range(100, 3000)]

    edited(tmp_path / "annotations" / "instances_train2014.json", more)
    opened: list[str] = []
    listed: list[str] = []
    scan = os.scandir
    monkeypatch.setattr("PIL.Image.open", lambda path: opened.append(str(path)))
    monkeypatch.setattr("os.scandir", lambda path: listed.append(Path(path).name) or scan(path))
    data = load("coco2014", tmp_path, on_bad_image="defer")
    assert len(data.train) == 2903
    assert opened == []
    assert sorted(listed) == ["train2014", "val2014"]

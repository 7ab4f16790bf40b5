"""COCO in miniature: label rules, and what each refusal says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.datasets import coco
from tests.datasets.toys import grey, load, refusal, shown, write_image


def write_coco(root: Path, year: int = 2014) -> Path:
    """Two training images of 40 classes each with one more without any, and a test image of all
    classes."""
    ids = list(coco.CATEGORIES)
    instances = {"train": {7: ids[:40], 3: ids[40:], 5: []}, "val": {11: ids}}
    for split, images in instances.items():
        names = {image: f"COCO_{split}{year}_{image:012d}.jpg" for image in images}
        for image, name in names.items():
            write_image(root / f"{split}{year}" / name, 10 * image, size=(20, 16))
        content = {
            "info": {"year": year},
            "images": [
                {"id": image, "file_name": name, "height": 16, "width": 20}
                for image, name in names.items()
            ],
            "annotations": [
                {
                    "id": 1,
                    "image_id": image,
                    "category_id": k,
                    "iscrowd": k % 2,
                    "bbox": [1, 2, 3, 4],
                    "area": 12.0,
                }
                for image, categories in images.items()
                for k in categories + categories[:1]
            ],
            "categories": [
                {"supercategory": "x", "id": k, "name": name} for k, name in coco.CATEGORIES.items()
            ],
        }
        file = root / "annotations" / f"instances_{split}{year}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(content))
    return root


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


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda content: content["categories"].__setitem__(0, {"id": 1, "name": "dog"}),
            "1 category ids of {file} do not match COCO's: id 1 is 'dog', and should be 'person'",
        ),
        (
            lambda content: content["categories"].append({"id": 12, "name": "street sign"}),
            (
                "1 category ids of {file} do not match COCO's: id 12 is 'street sign', and should"
                " be absent"
            ),
        ),
        (
            lambda content: content.__setitem__("categories", content["categories"][2:]),
            "2 category ids of {file} do not match COCO's: id 1 is absent, and should be 'person'",
        ),
        (
            lambda content: content["annotations"].append({"image_id": 7, "category_id": 91}),
            "{file} has an instance of category 91, which is none of COCO's 80",
        ),
        (
            lambda content: content["annotations"].append({"image_id": 8, "category_id": 1}),
            "{file} annotates image 8, which it does not list",
        ),
        (
            lambda content: content.pop("annotations"),
            "{file} is no file of COCO instances: 'annotations' is missing",
        ),
        (
            lambda content: content.update(images=None),
            "{file} is no file of COCO instances: it holds no lists of images and annotations",
        ),
        (
            lambda content: content["images"].extend(
                [{"id": 100 + k, "file_name": f"gone_{k}.jpg"} for k in range(3)]
            ),
            "{file} lists 3 images that are missing, the first is {folder}/train2014/gone_0.jpg",
        ),
    ],
)
def test_coco_refusals(tmp_path: Path, change: Callable[[Any], None], sentence: str) -> None:
    file = write_coco(tmp_path) / "annotations" / "instances_train2014.json"
    edited(file, change)
    said = refusal(lambda: load("coco2014", tmp_path))
    assert f"({sentence.format(file=file, folder=tmp_path)})" in said
    assert (
        "which should hold train2014/, val2014/ and annotations/instances_{train,val}2014.json; to"
        " fetch it:" in said
    )


def test_coco_refuses_absent_broken_and_overlapping_files(tmp_path: Path) -> None:
    folder = write_coco(tmp_path) / "annotations"
    edited(
        folder / "instances_val2014.json", lambda content: content["images"][0].__setitem__("id", 7)
    )
    edited(
        folder / "instances_val2014.json",
        lambda content: [
            instance.__setitem__("image_id", 7) for instance in content["annotations"]
        ],
    )
    assert (
        refusal(lambda: load("coco2014", tmp_path))
        == "1 images are in both COCO's instances_train2014.json and its instances_val2014.json,"
        " the first is 7: no test image may be seen in training"
    )
    (folder / "instances_val2014.json").write_text("{")
    assert f"({folder}/instances_val2014.json is no JSON: " in refusal(
        lambda: load("coco2014", tmp_path)
    )
    (folder / "instances_val2014.json").unlink()
    assert f"({folder}/instances_val2014.json is missing)" in refusal(
        lambda: load("coco2014", tmp_path)
    )


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

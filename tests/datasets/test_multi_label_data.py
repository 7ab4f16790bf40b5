"""Multi-label data sets: official layouts in miniature, label rules, caching, and what each refusal
says."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import average_precision_score
from torch.utils.data import DataLoader

from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets import coco, voc
from cl_prompts.datasets.classes import relabel
from cl_prompts.datasets.digit_scenes import digit_scenes
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.registry import DATASETS, DataSet, as_dataset, load_dataset
from cl_prompts.errors import InputError
from tests.datasets.test_registry import Own, grey, refusal, write_image

torch.set_num_threads(1)


def load(name: str, root: Path | None = None, **options: Any) -> DataSet:
    return load_dataset(name, root=root, **({"image_size": 8, "augment": False} | options))


def shown(data: DataSet, row: int) -> set[str]:
    """Names of the classes of a training image."""
    return {data.classes[k] for k in np.flatnonzero(data.train.targets[row])}


# --- what every multi-label set promises, on the digit scenes
# -----------------------------------------------------


def test_items_are_images_with_multi_hot_labels() -> None:
    data = load("digit_scenes", image_size=32)
    assert data.multi_label
    assert not load("digits").multi_label
    assert str(data) == "digit_scenes: 10 classes (multi-label), 1500 training and 500 test images"
    assert data.classes == tuple("0123456789")
    assert data.train.targets.shape == (1500, 10)
    assert data.train.targets.dtype == np.uint8
    assert data.train.ignored is None
    image, label = data.train[3]
    assert image.shape == (3, 32, 32)
    assert isinstance(label, torch.Tensor)
    assert label.dtype == torch.float32
    assert label.tolist() == data.train.targets[3].tolist()
    images, labels = next(iter(DataLoader(data.test, batch_size=4, num_workers=1)))
    assert images.shape == (4, 3, 32, 32)
    assert np.array_equal(labels.numpy(), data.test.targets[:4])


def test_scenes_hold_one_to_four_digits_and_are_the_same_every_time() -> None:
    images, labels = digit_scenes()[:2]
    again, labels_again = digit_scenes()[:2]
    assert torch.equal(images, again)
    assert np.array_equal(labels, labels_again)
    per_scene = labels.sum(axis=1)
    assert set(per_scene.tolist()) == {1, 2, 3, 4}
    assert min(np.bincount(per_scene)[1:]) > 300
    assert labels.mean(axis=0).min() > 0.2
    ink = (images[:, 0] > 60).float().mean(dim=(1, 2))
    by_number = [ink[torch.from_numpy(per_scene == n)].mean().item() for n in (1, 2, 3, 4)]
    for n, share in enumerate(
        by_number, start=1
    ):  # little is hidden: ink grows with the number of digits
        assert share == pytest.approx(n * by_number[0], rel=0.1)


def test_statistics_of_the_scenes_are_those_of_the_entry() -> None:
    data = load("digit_scenes", image_size=64)
    pixels = torch.stack([image for image, _ in data.train])
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=1e-3)


def test_the_embedded_vit_makes_sense_of_the_scenes() -> None:
    data, backbone = load("digit_scenes", image_size=32), create_backbone()
    parts = []
    with torch.no_grad():
        for part in (data.train, data.test):
            images = torch.stack([image for image, _ in part])
            parts.append(torch.cat([backbone(batch) for batch in images.split(250)]).numpy())
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0)
    x, x_test = ((features - mean) / std for features in parts)
    weights = np.linalg.solve(
        x.T @ x + 30 * np.eye(x.shape[1]), x.T @ (data.train.targets - data.train.targets.mean(0))
    )
    precision = average_precision_score(data.test.targets, x_test @ weights)
    assert precision > 0.6  # 0.25 by chance


@settings(max_examples=10, deadline=None)
@given(order=st.permutations(range(10)), count=st.integers(1, 10))
def test_columns_follow_the_choice_of_classes(order: list[int], count: int) -> None:
    whole = np.arange(50).reshape(5, 10) % 3 % 2
    rows, targets = relabel(whole, np.array(order[:count]), 10)
    assert rows is None
    for new, old in enumerate(order[:count]):
        assert np.array_equal(targets[:, new], whole[:, old])


def test_choosing_classes_keeps_every_image() -> None:
    whole, data = load("digit_scenes"), load("digit_scenes", classes=["7", 1])
    assert data.classes == ("7", "1")
    assert np.array_equal(data.train.targets, whole.train.targets[:, [7, 1]])
    assert (data.train.targets.sum(axis=1) == 0).any()
    assert torch.equal(data.train[5][0], whole.train[5][0])


# --- VOC 2007
# ----------------------------------------------------------------------------------------------

VOC = {  # split -> one row of values per image; image k of the whole set is k grey
    "train": [[1] * 20, [1, 0] + [-1] * 18, [0] * 20],
    "val": [[1] * 20, [-1, 0] + [1] * 18],
}


def write_voc(root: Path, splits: dict[str, list[list[int]]] = VOC) -> Path:
    folder = root / "VOCdevkit" / "VOC2007"
    lists = folder / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    first = 0
    for split, rows in splits.items():
        ids = [f"{10 * (first + k):06d}" for k in range(len(rows))]
        first += len(rows)
        for image in ids:
            write_image(folder / "JPEGImages" / f"{image}.jpg", int(image), size=(24, 16))
        for column, name in enumerate(voc.CLASSES):
            lines = [
                f"{image} {values[column]:2d}\n" for image, values in zip(ids, rows, strict=True)
            ]
            (lists / f"{name}_{split}.txt").write_text("".join(lines))
    return folder


def test_voc_counts_ones_only(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    for root in (tmp_path, tmp_path / "VOCdevkit", folder):
        data = load("voc2007", root, splits="train/val")
        assert data.classes == voc.CLASSES == tuple(sorted(voc.CLASSES))
        assert data.train.targets.sum(axis=1).tolist() == [
            20,
            1,
            0,
        ]  # an image without a label stays
        assert data.test.targets.sum(axis=1).tolist() == [20, 18]
        assert shown(data, 1) == {"aeroplane"}
        assert grey(data.train) == pytest.approx([0, 10, 20], abs=1)
        assert grey(data.test) == pytest.approx([30, 40], abs=1)
        assert data.train.ignored is None


def test_difficult_objects_may_be_ignored(tmp_path: Path) -> None:
    write_voc(tmp_path)
    data = load(
        "voc2007",
        tmp_path,
        splits="train/val",
        difficult="ignore",
        classes=["bicycle", "aeroplane"],
    )
    assert data.train.targets.tolist() == [[1, 1], [0, 1], [0, 0]]
    assert data.train.ignored is not None
    assert data.train.ignored.tolist() == [[False, False], [True, False], [True, True]]
    assert data.test.ignored is not None
    assert data.test.ignored.tolist() == [[False, False], [True, False]]


def test_voc_takes_any_pair_of_its_splits(tmp_path: Path) -> None:
    write_voc(tmp_path, {"trainval": VOC["train"], "test": VOC["val"], "val": VOC["val"]})
    assert grey(load("voc2007", tmp_path).test) == pytest.approx([30, 40], abs=1)
    assert grey(load("voc2007", tmp_path, splits="val/test").train) == pytest.approx(
        [50, 60], abs=1
    )
    assert grey(load("voc2007", tmp_path, splits="test/trainval").train) == pytest.approx(
        [30, 40], abs=1
    )


def test_voc_says_which_splits_work(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Main"
    sentence = refusal(lambda: load("voc2007", tmp_path))
    assert (
        f"(split trainval has no {lists}/aeroplane_trainval.txt and 19 more lists; with what is"
        " there, splits=train/val works): looked in" in sentence
    )
    assert sentence.endswith(f"tar -xf {tmp_path}/$f -C {tmp_path}; done")
    (lists / "dog_val.txt").unlink()
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert f"(split val has no {lists}/dog_val.txt): looked in" in sentence


@pytest.mark.parametrize("splits", ["train", "train/tset", "train/val/test", "train,val", ""])
def test_voc_refuses_unknown_splits(tmp_path: Path, splits: str) -> None:
    write_voc(tmp_path)
    sentence = refusal(lambda: load("voc2007", tmp_path, splits=splits))
    assert (
        sentence
        == "splits of VOC 2007 must be two of train, val, trainval, test, like train/val, not"
        f" {splits!r}"
    )


def test_voc_refuses_splits_that_overlap(tmp_path: Path) -> None:
    lists = write_voc(tmp_path) / "ImageSets" / "Main"
    assert (
        refusal(lambda: load("voc2007", tmp_path, splits="train/train"))
        == "3 images are in both VOC 2007's train and its train split, the first is 000000: "
        "no test image may be seen in training"
    )
    for name in voc.CLASSES:
        both = (lists / f"{name}_train.txt").read_text() + (lists / f"{name}_val.txt").read_text()
        (lists / f"{name}_trainval.txt").write_text(both)
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="trainval/val"))
    assert (
        "2 images are in both VOC 2007's trainval and its val split, the first is 000030"
        in sentence
    )


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("000000  1\n000010  2\n000020 -1\n", "{file} holds '2' where -1, 0 or 1 should be"),
        ("000000  1\n000010\n000020 -1\n", "row 2 of {file} is not as it should be: '000010'"),
        (
            "000000  1\n000020 -1\n000010  1\n",
            "{file} lists other images than aeroplane_train.txt, or in another",
        ),
        ("", "{file} is empty"),
    ],
)
def test_voc_refuses_damaged_lists(tmp_path: Path, text: str, sentence: str) -> None:
    file = write_voc(tmp_path) / "ImageSets" / "Main" / "cat_train.txt"
    file.write_text(text)
    assert f"({sentence.format(file=file)}" in refusal(
        lambda: load("voc2007", tmp_path, splits="train/val")
    )


def test_voc_counts_missing_images_and_names_a_class_without_positives(tmp_path: Path) -> None:
    folder = write_voc(tmp_path)
    for image in ("000000", "000020"):
        (folder / "JPEGImages" / f"{image}.jpg").unlink()
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert (
        "(split train lists 2 images that are missing, the first is"
        f" {folder}/JPEGImages/000000.jpg)" in sentence
    )
    write_voc(tmp_path, {"train": [[1] * 19 + [0]], "val": VOC["val"]})
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val"))
    assert sentence == "class 'tvmonitor' (label 19) of data set 'voc2007' has no training images"
    assert load("voc2007", tmp_path, splits="train/val", classes=19).classes == voc.CLASSES[:19]


# --- COCO
# ----------------------------------------------------------------------------------------------


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


# --- CSV
# ----------------------------------------------------------------------------------------------


def write_csv(
    root: Path, train: Sequence[str] = ("a.jpg,cat;dog", "b.jpg,", "c.jpg,eel"), test: str = ""
) -> Path:
    for k, name in enumerate("abcdef"):
        write_image(root / "images" / f"{name}.jpg", 20 * k, size=(20, 16))
    rows = "".join(f"images/{row}\n" for row in train)
    (root / "train.csv").write_text(f"path,label\n{rows}")
    (root / "test.csv").write_text(
        "path,label\n" + (test or "images/d.jpg,cat; dog ;eel\n\nimages/e.jpg,\n")
    )
    return root


def test_csv(tmp_path: Path) -> None:
    data = load("csv", write_csv(tmp_path))
    assert data.classes == ("cat", "dog", "eel")
    assert data.train.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.test.targets.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert grey(data.train) == pytest.approx([0, 20, 40], abs=1)
    assert grey(data.test) == pytest.approx([60, 80], abs=1)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (
            "path;label\n",
            "{root}/train.csv must begin with the line path,label, not with 'path;label'",
        ),
        ("", "{root}/train.csv must begin with the line path,label, not with ''"),
        (
            "path,label\nimages/a.jpg\n",
            "line 2 of {root}/train.csv is no path,label;label: 'images/a.jpg'",
        ),
        (
            "path,label\nimages/a.jpg,cat,dog\n",
            "line 2 of {root}/train.csv is no path,label;label: 'images/a.jpg,cat,",
        ),
        ("path,label\n,cat\n", "line 2 of {root}/train.csv is no path,label;label: ',cat'"),
        ("path,label\nimages/a.jpg,\n", "{root}/train.csv has no image with a label"),
        (
            "path,label\nimages/a.jpg,cat\nimages/x.jpg,cat\nno/y.jpg,dog\n",
            "{root}/train.csv lists 2 images that are missing, the first is {root}/images/x.jpg",
        ),
        (
            "path,label\nimages/a.jpg,cat\nimages/../images/a.jpg,dog\n",
            (
                "{root}/train.csv lists image {root}/images/a.jpg twice: give all labels of an"
                " image in one row"
            ),
        ),
    ],
)
def test_csv_refusals(tmp_path: Path, train: str, sentence: str) -> None:
    root = write_csv(tmp_path)
    (root / "train.csv").write_text(train)
    said = refusal(lambda: load("csv", root))
    assert f"({sentence.format(root=root)}" in said
    assert (
        f"looked in {root}, which should hold train.csv and test.csv with the header path,label"
        in said
    )


def test_an_image_in_both_tables_is_found_through_links(tmp_path: Path) -> None:
    root = write_csv(tmp_path, test="images/d.jpg,cat;dog;eel\nlinks/c.jpg,cat\n")
    (root / "links").mkdir()
    os.symlink(root / "images" / "c.jpg", root / "links" / "c.jpg")
    assert (
        refusal(lambda: load("csv", root))
        == f"1 images are in both {root}/train.csv and test.csv, the first is {root}/images/c.jpg: "
        "no test image may be seen in training"
    )


def test_a_class_in_one_table_only_is_refused(tmp_path: Path) -> None:
    root = write_csv(tmp_path, test="images/d.jpg,cat;dog;eel;fox\n")
    assert (
        refusal(lambda: load("csv", root))
        == "class 'fox' (label 3) of data set 'csv' has no training images"
    )
    assert load("csv", root, classes=3).classes == ("cat", "dog", "eel")
    assert refusal(lambda: load("csv")).startswith(
        "data set 'csv' needs a root, the folder that holds train.csv"
    )


# --- crop, options and cache
# --------------------------------------------------------------------------------------


def write_wide(root: Path) -> Path:
    """Images of 400 x 300 pixels whose outer ninths are bright."""
    root = write_csv(root, train=["a.png,cat;dog;eel"], test="images/b.png,cat;dog;eel\n")
    for name in "ab":
        pixels = np.random.default_rng(ord(name)).integers(0, 128, (300, 400, 3), dtype=np.uint8)
        pixels[:, :40] = pixels[:, -40:] = 255
        Image.fromarray(pixels).save(root / "images" / f"{name}.png")
    return root


def test_whole_images_keep_what_the_published_crop_cuts_away(tmp_path: Path) -> None:
    root = write_wide(tmp_path)
    published = load("csv", root, image_size=56)
    assert torch.equal(
        published.test[0][0], load("csv", root, image_size=56, crop="published").test[0][0]
    )
    whole = load("csv", root, image_size=56, crop="whole", augment=True)
    assert published.test[0][0][:, :, 0].mean() < 0.6
    for image in (whole.test[0][0], whole.train[0][0]):
        assert image.shape == (3, 56, 56)
        assert image[:, :, [0, -1]].min() > 0.95


def test_options_are_refused_where_they_mean_nothing(tmp_path: Path) -> None:
    assert (
        refusal(lambda: load("digits", splits="train/val"))
        == "data set 'digits' has no splits: leave it out, it is for voc2007"
    )
    assert (
        refusal(lambda: load("csv", tmp_path, difficult="ignore"))
        == "data set 'csv' has no difficult: leave it out, it is for voc2007"
    )
    assert (
        refusal(lambda: load("digit_scenes", crop="whole"))
        == "images of data set 'digit_scenes' are not cut to a square: leave out crop=whole, it is"
        " for imagenet_r, voc2007, coco2014, coco2017, csv"
    )
    assert refusal(lambda: load("csv", tmp_path, crop="all")).startswith("unknown crop 'all': ")
    write_voc(tmp_path)
    sentence = refusal(lambda: load("voc2007", tmp_path, splits="train/val", difficult="ignored"))
    assert sentence == "unknown treatment of difficult objects 'ignored': did you mean 'ignore'?"


def test_cached_images_are_reduced_and_test_images_stay_the_same(tmp_path: Path) -> None:
    root = write_wide(tmp_path)
    plain, cached = (load("csv", root, image_size=56, cache=keep) for keep in (False, True))
    expected = plain.test[0][0]
    assert torch.equal(cached.test[0][0], expected)
    (root / "images" / "b.png").unlink()
    assert torch.equal(cached.test[0][0], expected)
    assert cached.train.bytes_kept() == 3 * 64 * 85  # 56 * 256 / 224 pixels on the shorter side
    assert plain.train.bytes_kept() == 0


@given(height=st.integers(1, 700), width=st.integers(1, 700), side=st.integers(1, 300))
def test_only_larger_images_are_reduced(height: int, width: int, side: int) -> None:
    kept = FileImages([], cache=side)._kept_size(height, width)
    if max(height, width) <= 128 or min(height, width) <= side:
        assert kept == (height, width)
    else:
        assert min(kept) == side
        assert max(kept) / side == pytest.approx(
            max(height, width) / min(height, width), abs=1 / side
        )


def test_a_cache_that_would_not_fit_is_refused(tmp_path: Path) -> None:
    root = write_wide(tmp_path)
    sentence = refusal(lambda: load("csv", root, image_size=56, cache=True, cache_gb=3e-5))
    assert sentence.startswith(
        "cache would keep about 0.0 GB of data set 'csv' in memory, more than cache_gb=3e-05: "
    )
    load("csv", root, image_size=56, cache_gb=3e-5)
    load("digit_scenes", cache=True, cache_gb=3e-5)  # in memory anyway


# --- data sets of one's own
# ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.array, torch.tensor, lambda rows: np.array(rows, dtype=bool)])
def test_own_multi_label_data_sets(kind: Callable[[Any], Any]) -> None:
    data = as_dataset(
        Own(kind([[1, 1, 0], [0, 0, 1]])), Own(kind([[1, 1, 1]])), ["a", "b", "c"], name="mine"
    )
    assert data.multi_label
    assert data.train.targets.dtype == np.uint8
    image, label = data.train[1]
    assert isinstance(label, torch.Tensor)
    assert (image[0, 0, 0].item(), label.tolist()) == (pytest.approx(0.1), [0, 0, 1])
    assert as_dataset(data.train, data.test).classes == ("0", "1", "2")


def test_own_ignored_pairs_are_kept_and_checked() -> None:
    train, test = Own(np.array([[1, 1]])), Own(np.array([[1, 1], [0, 1]]))
    test.ignored = np.array([[False, False], [True, False]])  # type: ignore[attr-defined]
    data = as_dataset(train, test)
    assert data.train.ignored is None
    assert np.array_equal(data.test.ignored, test.ignored)  # type: ignore[arg-type, attr-defined]
    test.ignored = np.zeros((2, 2))  # type: ignore[attr-defined]
    assert (
        refusal(lambda: as_dataset(train, test))
        == ".ignored of the test images of data set 'custom' must be bool of the shape of .targets,"
        " (2, 2), not float64 of (2, 2)"
    )


def test_own_multi_label_data_sets_are_checked() -> None:
    good = Own(np.array([[1, 0], [0, 1]]))

    def said(train: object, test: object = good, classes: Sequence[str] | None = None) -> str:
        return refusal(lambda: as_dataset(train, test, classes, name="mine"))

    assert (
        said(Own(np.array([[1, 2]])))
        == "the training labels of data set 'mine' must be a 0/1 matrix (images, classes), but row"
        " 0 holds 2 in column 1"
    )
    assert (
        said(Own([0, 1]))
        == "data set 'mine' has one integer per training image, but one row of zeros and ones per"
        " test image"
    )
    assert (
        said(good, Own(np.array([[1, 1, 1]])))
        == "data set 'mine' has 2 classes, but its test labels have 3 columns"
    )
    assert (
        said(good, good, ["a"])
        == "data set 'mine' has 1 classes, but its training labels have 2 columns"
    )
    assert (
        said(good, Own(np.array([[1, 0]])), ["a", "b"])
        == "class 'b' (label 1) of data set 'mine' has no test images"
    )
    assert (
        said(Own(np.array([[0, 1]])))
        == "class '0' (label 0) of data set 'mine' has no training images"
    )


def test_entries_of_photos_take_their_crop_by_name() -> None:
    assert {name for name, entry in DATASETS.items() if entry.options} == {"voc2007"}
    with pytest.raises(InputError, match="unknown data set 'voc'"):
        load("voc")

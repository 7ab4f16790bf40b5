"""What each refusal of a data set says: edits of layouts in miniature, and bad arguments."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from cl_prompts.datasets.classes import check_label_matrix, check_labels, positive_matrix
from cl_prompts.datasets.dataset import as_dataset
from cl_prompts.datasets.readers import VOC_CLASSES
from cl_prompts.datasets.registry import load_dataset
from cl_prompts.datasets.source import split_rows
from cl_prompts.errors import InputError
from tests.datasets.test_folders import write_domainnet, write_domains
from tests.datasets.test_readers import write_cub, write_tiny_imagenet
from tests.datasets.test_voc import write_voc
from tests.datasets.toys import Own, load, write_coco, write_csv, write_folder, write_grocery
from tests.experiments.commands import run
from tests.experiments.own_photos import photos
from tests.refusals import check_refusals

Edit = Callable[[Path], object]


def text(name: str, content: str) -> Edit:
    return lambda root: (root / name).write_text(content)


def gone(name: str) -> Edit:
    return lambda root: (root / name).unlink()


def numbered(value: str) -> str:
    return "".join(f"{i} {value.format(i)}\n" for i in range(1, 7))


def coco(change: Callable[[Any], object]) -> Edit:
    def edit(root: Path) -> None:
        file = root / "annotations" / "instances_train2014.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))

    return edit


def linked(root: Path) -> None:
    """A training image that is a test image by a hard link."""
    os.link(root / "train" / "ant" / "1.png", root / "test" / "ant" / "z.png")


def same_link(root: Path) -> None:
    """A training image listed twice by a symbolic link."""
    os.symlink(root / "train" / "ant" / "1.png", root / "train" / "ant" / "z.png")


def copied(source: str, to: str) -> Edit:
    """A test image with the bytes of a training image."""
    return lambda root: shutil.copy(root / source, root / to)


def overlapping(root: Path) -> None:
    lists = root / "ImageSets" / "Main"
    for name in VOC_CLASSES:
        both = [(lists / f"{name}_{split}.txt").read_text() for split in ("train", "val")]
        (lists / f"{name}_trainval.txt").write_text("".join(both))


VOC = "ImageSets/Main/"
AT_ONCE = {"test_percent": 20}
DOMAINS = {"domains": True, "test_percent": 40}
TRAIN_VAL = {"splits": "train/val"}

#: data set, who writes it, and its edits by name, some with options of its load
LAYOUTS: list[tuple[str, Callable[[Path], Path], dict[str, Edit | tuple[Edit, dict[str, Any]]]]] = [
    (
        "folder",
        write_folder,
        {
            "no train": lambda root: (root / "train").rename(root / "tain"),
            "no test": lambda root: (root / "test").rename(root / "tests"),
            "no class folders": (lambda root: None, {"root": "train/ant", **AT_ONCE}),
            "no classes": (lambda root: (root / "nothing").mkdir(), {"root": "nothing", **AT_ONCE}),
            "class without images": gone("test/bee/a.png"),
            "no test class": lambda root: (root / "train" / "dog").mkdir(),
            "no training class": lambda root: (root / "test" / "dog").mkdir(),
            "parts as classes": (lambda root: (root / "train").rename(root / "Train"), AT_ONCE),
            "both parts": linked,
            "twice": same_link,
            "copied": copied("train/ant/1.png", "test/bee/z.png"),
            "label or name": (
                lambda root: [(root / p / "bee").rename(root / p / "1") for p in ("train", "test")],
                {"classes": [1]},
            ),
        },
    ),
    (
        "folder",
        write_domains,
        {
            "one image": (
                lambda root: [file.unlink() for file in sorted((root / "art/cat").glob("*"))[1:]],
                DOMAINS,
            ),
            "domain without classes": (lambda root: (root / "war").mkdir(), DOMAINS),
            "copied domain": (
                lambda root: [
                    shutil.copy(root / "art/cat/0.png", file) for file in root.glob("art/dog/*")
                ],
                DOMAINS,
            ),
        },
    ),
    (
        "domainnet",
        write_domainnet,
        {
            "gone": text("real_train.txt", "real/ant/gone.png 1\n"),
            "no label": text("real_train.txt", "real/ant/train.png one\n"),
        },
    ),
    (
        "tiny_imagenet",
        write_tiny_imagenet,
        {
            "missing": gone("val/images/val_1.JPEG"),
            "twice": text("val/val_annotations.txt", "val_0.JPEG n01\nval_0.JPEG n02\n"),
            "empty": text("wnids.txt", ""),
            "no list": gone("wnids.txt"),
        },
    ),
    (
        "cub200",
        write_cub,
        {
            "no number": text("image_class_labels.txt", "1 1\n2 x\n"),
            "missing": text("images.txt", numbered("no/{}.jpg")),
            "file twice": text("images.txt", numbered("001.Albatross/bird_0.jpg")),
            "one name": text("classes.txt", "1 a\n2 a\n"),
            "no test images": text("train_test_split.txt", "1 1\n2 1\n3 0\n4 1\n5 0\n6 1\n"),
        },
    ),
    (
        "grocery",
        write_grocery,
        {
            "missing": text("val.txt", "val/Fruit/Lime/Lime_009.jpg, 2, 1\n"),
            "header": text("classes.csv", "name,id\nLime,0\n"),
            "no list": gone("val.txt"),
            "labels": (lambda root: None, {"labels": "middle"}),
        },
    ),
    (
        "csv",
        write_csv,
        {
            "header": text("train.csv", "path;label\n"),
            "columns": text("train.csv", "path,label\nimages/a.jpg,cat,dog\n"),
            "no path": text("train.csv", "path,label\n,cat\n"),
            "no label": text("train.csv", "path,label\nimages/a.jpg,\n"),
            "missing": text("train.csv", "path,label\nimages/a.jpg,cat\nimages/x.jpg,cat\n"),
            "twice": text(
                "train.csv", "path,label\nimages/a.jpg,cat\nimages/../images/a.jpg,dog\n"
            ),
            "quote": text("train.csv", 'path,label\nimages/a.jpg,cat\n"images/b.jpg,dog\n'),
            "two labels": text("train.csv", "path,label,domain\nimages/a.jpg,cat;dog,art\n"),
            "domains": text("test.csv", "path,label,domain\nimages/d.jpg,cat,art\n"),
            "one side": text("test.csv", "path,label\nimages/d.jpg,cat;dog;eel;fox\n"),
            "copied": copied("images/c.jpg", "images/e.jpg"),
            "both parts": text("test.csv", "path,label\nimages/c.jpg,cat;dog;eel\n"),
        },
    ),
    (
        "coco2014",
        write_coco,
        {
            "no JSON": text("annotations/instances_val2014.json", "{"),
            "no file": gone("annotations/instances_val2014.json"),
            "no annotations": coco(lambda it: it.pop("annotations")),
            "missing": coco(lambda it: it["images"][0].update(file_name="gone.jpg")),
        },
    ),
    (
        "voc2007",
        write_voc,
        {
            "which splits": lambda root: None,
            "unknown splits": (lambda root: None, {"splits": "train/tset"}),
            "overlap": (overlapping, {"splits": "trainval/val"}),
            "row": (text(f"{VOC}cat_train.txt", "000000 1\n000010\n000020 -1\n"), TRAIN_VAL),
            "missing": (gone("JPEGImages/000000.jpg"), TRAIN_VAL),
        },
    ),
]


def load_edited(root: Path, name: str, write: Callable[[Path], Path], case: Any) -> None:
    """Load a data set after an edit; the sentence names its folder ROOT."""
    edit, given = case if isinstance(case, tuple) else (case, {})
    options = dict(given)
    folder = write(root)
    edit(folder)
    below = folder / options.pop("root", ".")
    try:
        load(name, below, **options).fingerprint()
    except InputError as error:
        raise InputError(str(error).replace(str(root), "ROOT")) from error


def test_copies_of_training_images_stop_a_run_before_it_begins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    photos(data / "train", {"cat": 50, "dog": 50})
    photos(data / "test", {"cat": 50, "dog": 50}, first=5000)
    for i in range(20):
        shutil.copy(data / "train" / "cat" / f"{i:03d}.png", data / "test" / "dog" / f"a{i}.png")
    given = ["digits", "strategy=ncm", "dataset=folder", f"dataset.root={data}", "image_size=16"]
    assert run(tmp_path / "runs", *given, "n_tasks=2", "seed=1") == (2, [])
    assert capsys.readouterr().err == (
        "cl-prompts: 20 test images of data set 'folder' are also training images, the first is"
        f" {data}/test/dog/a0.png (in training: {data}/train/cat/000.png): remove them from one"
        " part\n"
    )
    assert not list((tmp_path / "runs").rglob("*.json"))


def test_layouts(tmp_path: Path) -> None:
    cases: dict[str, Callable[[], object]] = {}
    for number, (name, write, edits) in enumerate(LAYOUTS):
        for title, case in edits.items():
            root = tmp_path / str(number) / title.replace(" ", "_")
            cases[f"{name}, {title}"] = lambda root=root, name=name, write=write, case=case: (
                load_edited(root, name, write, case)
            )
    check_refusals(Path(__file__).with_name("refused_layouts.txt"), cases)


GOOD = Own([0, 1, 2])
PAIR = Own(np.array([[1, 0], [0, 1]]))
LABELS = np.repeat(np.arange(3), [10, 50, 2])

#: training and test data of one's own, and their classes
OWN: dict[str, tuple[Any, Any, Any]] = {
    "no targets": (TensorDataset(torch.zeros(2)), GOOD, None),
    "floats": (Own([0.0, 1.0]), GOOD, None),
    "number": (Own([0, 1], n=4), GOOD, None),
    "from 1": (Own([1, 2, 3]), GOOD, None),
    "negative": (Own([0, -1, 1]), GOOD, None),
    "more in test": (Own([0, 1]), GOOD, None),
    "no test images": (GOOD, Own([0, 2]), None),
    "no training images": (Own([0, 2]), GOOD, "abc"),
    "blank name": (GOOD, GOOD, ["a", " ", "c"]),
    "names alike": (GOOD, GOOD, ["a", "A ", "c"]),
    "two names": (GOOD, GOOD, "ab"),
    "entry 2": (Own(np.array([[1, 2]])), PAIR, None),
    "two kinds": (Own([0, 1]), PAIR, None),
    "columns": (PAIR, Own(np.array([[1, 1, 1]])), None),
    "no test image": (PAIR, Own(np.array([[1, 0]])), "ab"),
}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "classes label": {"classes": [1, 10]},
    "classes name": {"classes": ["one"]},
    "classes twice": {"classes": [1, "1"]},
    "seed": {"seed": -1},
    "image_size": {"image_size": "32"},
    "data set": {"name": "cifar-100"},
    "on_bad_image": {"on_bad_image": "skp"},
    "foreign option": {"splits": "train/val"},
    "type of an option": {"name": "folder", "test_percent": "20", "root": "/"},
    "crop": {"name": "csv", "crop": "all"},
    "argument": {"clases": 3},
    "no root": {"name": "folder"},
    "not there": {"name": "folder", "root": "/nowhere"},
}


def test_arguments_and_labels() -> None:
    cases: dict[str, Callable[[], object]] = {}
    for title, own in OWN.items():
        cases[f"own, {title}"] = lambda own=own: as_dataset(*own, name="mine")
    for title, changes in ARGUMENTS.items():
        given = {"name": "digits", "image_size": 32} | changes
        cases[title] = lambda given=given: load_dataset(**given)
    functions = {check_labels: [[0, 2], [0, -3]], check_label_matrix: [[0, 1], [[0.5, 1]]]}
    functions[positive_matrix] = [[[1, 0, 1]]]
    for check, values in functions.items():
        for given in values:
            cases[f"{check.__name__} {given}"] = lambda check=check, given=given: check(given, "it")
    for title, share in {"0": (0, 0), "nan": (float("nan"), 0), "seed": (20, -1)}.items():
        cases[f"share, {title}"] = lambda share=share: split_rows(LABELS, "abc", *share)
    check_refusals(Path(__file__).with_name("refused_arguments.txt"), cases)

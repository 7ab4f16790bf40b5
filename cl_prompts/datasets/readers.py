"""Readers of published data sets in their official layouts."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torchvision.datasets import CIFAR10

from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.decoding import FileImages
from cl_prompts.datasets.files import check_listed, table
from cl_prompts.datasets.folders import class_folders, scan_images
from cl_prompts.datasets.source import Source, numbered

#: (folder, options) -> ``Source``
Reader = Callable[..., Source]
#: The 20 classes of VOC, in alphabetical order.
VOC_CLASSES: tuple[str, ...] = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
Difficult = Literal["negative", "ignore"]


def read_cifar(kind: type[CIFAR10], folder: Path, download: bool = False) -> Source:
    """Read CIFAR-10 or CIFAR-100 by torchvision, which may download it."""
    above = folder.parent if folder.name == kind.base_folder else folder
    found = [kind(above, train=train, download=download) for train in (True, False)]
    images = [torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in found]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in found]
    return Source([*map(ImageSet, images, labels)], tuple(found[0].classes))


def read_imagenet_r(folder: Path) -> Source:
    """Read ImageNet-R, split as in the published Si-Blurry code.

    Of the sorted images, the first 80 % of ``torch.randperm(n)`` with generator seed 0 are training
    images, the rest test images, both in ascending order (24000 and 6000 of 30000).
    """
    classes = class_folders(folder)
    found = scan_images([folder / name for name in classes])
    n = len(found.targets)
    in_test = np.ones(n, dtype=bool)
    # Rounded down, as published.
    in_test[torch.randperm(n, generator=torch.Generator().manual_seed(0))[: int(0.8 * n)]] = False
    return Source(found.divided(in_test), classes)


def read_tiny_imagenet(folder: Path) -> Source:
    """Read Tiny-ImageNet's official training and validation images.

    The label of a class is its line number in ``wnids.txt``. Images are sorted by folder (for
    validation, by class) and file name.
    """
    wnids = [wnid for (wnid,) in table(folder / "wnids.txt")]
    ordered = sorted(wnids)
    found = scan_images([folder / "train" / wnid for wnid in ordered])
    listing = folder / "val" / "val_annotations.txt"
    # Four coordinates of a box follow.
    listed = sorted((wnid, name) for name, wnid, *_ in table(listing))
    test_paths = [str(folder / "val" / "images" / name) for _, name in listed]
    check_listed(test_paths, str(listing))
    train = replace(found, targets=np.array(ordered)[found.targets])
    test = ImageSet(FileImages(test_paths), np.array([wnid for wnid, _ in listed]))
    return Source(*numbered([train, test], wnids))


def read_cub200(folder: Path) -> Source:
    """Read CUB-200-2011 with the official split (5994 training and 5794 test images).

    Deviation: the published Si-Blurry code draws a random 80/20 split.
    """
    classes = tuple(dict(table(folder / "classes.txt")).values())
    files = dict(table(folder / "images.txt"))
    labels = dict(table(folder / "image_class_labels.txt"))
    flags = dict(table(folder / "train_test_split.txt"))
    # Classes are numbered from 1 in the files.
    targets = np.array([int(labels[image]) - 1 for image in files])
    paths = [str(folder / "images" / name) for name in files.values()]
    check_listed(paths, str(folder / "images.txt"))
    in_test = np.array([flags[image] != "1" for image in files])
    return Source(ImageSet(FileImages(paths), targets).divided(in_test), classes)


def read_grocery(folder: Path, labels: Literal["fine", "coarse"] = "fine") -> Source:
    """Read GroceryStoreDataset (Klasson, Zhang and Kjellström, WACV 2019), folder ``dataset``.

    The validation images join the training images. Iconic images are not read. Rows of the lists
    are ``path, fine label, coarse label``.

    Args:
        labels: 81 fine or 42 coarse classes.

    Raises:
        LayoutError: a missing image.
    """
    column = "Coarse Class" if labels == "coarse" else "Class"
    with (folder / "classes.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [*csv.DictReader(file)]
    names = {int(row[f"{column} ID (int)"]): row[f"{column} Name (str)"].strip() for row in rows}
    parts = []
    for lists in (("train", "val"), ("test",)):
        paths: list[str] = []
        targets: list[int] = []
        for name in lists:
            for line in (folder / f"{name}.txt").read_text("utf-8").splitlines():
                path, fine, coarse = line.split(",")
                paths.append(str(folder / path.strip()))
                targets.append(int(coarse if labels == "coarse" else fine))
        check_listed(paths, f"the lists {' and '.join(lists)}")
        parts.append(ImageSet(FileImages(paths), np.array(targets)))
    return Source(parts, tuple(names[label] for label in range(len(names))))


def read_coco(year: int, folder: Path) -> Source:
    """Read COCO's training images, and its validation images as the test set.

    Labels are the alphabetical ranks of category names. All instance annotations count, including
    crowds, as in MULTI-LANE's published code. Images are sorted by id; images without annotations
    have no label (2014: 82783 and 40504 images, 82081 and 40137 of them with labels).

    Raises:
        LayoutError: missing images.
    """
    parts = []
    for split in (f"train{year}", f"val{year}"):
        file = folder / "annotations" / f"instances_{split}.json"
        found = json.loads(file.read_bytes())
        categories = {entry["id"]: entry["name"] for entry in found["categories"]}
        names = {entry["id"]: entry["file_name"] for entry in found["images"]}
        # By id: the order in the file differs between downloads.
        labels: dict[int, list[str]] = {image: [] for image in sorted(names)}
        for entry in found["annotations"]:
            labels[entry["image_id"]].append(categories[entry["category_id"]])
        paths = [str(folder / split / names[image]) for image in labels]
        check_listed(paths, str(file))
        classes = tuple(sorted(categories.values()))
        parts.append(ImageSet(FileImages(paths), label_matrix(list(labels.values()), classes)))
    return Source(parts, classes)


def read_voc2007(
    folder: Path, *, splits: str = "trainval/test", difficult: Difficult = "negative"
) -> Source:
    """Read VOC 2007 from its images and image-level lists, without XML.

    The lists are ``ImageSets/Main/<class>_<split>.txt``. Only 1 is a positive label; -1 (absent)
    and 0 (only difficult objects of the class) are negative, as in MULTI-LANE's published code.
    Images with only difficult objects have no label.

    Args:
        splits: training and test split, such as "train/val", of train, val, trainval and test;
            train/val does not need the test archive.
        difficult: treatment of a class of which an image has only difficult objects: "negative", as
            published, or "ignore", which excludes the pair from average precision (``.ignored``);
            in training it remains negative.

    Raises:
        LayoutError: missing images.
    """
    parts = []
    for split in splits.split("/"):
        ids, values = _voc_lists(folder / "ImageSets" / "Main", split)
        paths = [str(folder / "JPEGImages" / f"{image}.jpg") for image in ids]
        check_listed(paths, f"split {split}")
        ignored = values == 0 if difficult == "ignore" else None
        parts.append(ImageSet(FileImages(paths), (values == 1).astype(np.uint8), ignored=ignored))
    return Source(parts, VOC_CLASSES)


def _voc_lists(folder: Path, split: str) -> tuple[list[str], np.ndarray]:
    """Return the image ids of a split, and the value (-1, 0 or 1) of each class, (n, 20) int8."""
    files = [folder / f"{name}_{split}.txt" for name in VOC_CLASSES]
    ids = [image for image, _ in table(files[0])]
    columns = [[int(value) for _, value in table(file)] for file in files]
    return ids, np.array(columns, dtype=np.int8).T

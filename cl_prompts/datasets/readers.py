"""Readers of single-label data sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torchvision.datasets import CIFAR10

from cl_prompts.datasets.files import check_listed, table
from cl_prompts.datasets.folders import class_folders, scan_images
from cl_prompts.datasets.source import Part, Source, numbered

#: (folder, options) -> ``Source``
Reader = Callable[..., Source]


def read_cifar(kind: type[CIFAR10], folder: Path, download: bool = False) -> Source:
    """Read CIFAR-10 or CIFAR-100 by torchvision, which may download it."""
    above = folder.parent if folder.name == kind.base_folder else folder
    found = [kind(above, train=train, download=download) for train in (True, False)]
    images = [torch.from_numpy(part.data).permute(0, 3, 1, 2) for part in found]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in found]
    return Source([*map(Part, images, labels)], tuple(found[0].classes))


def read_imagenet_r(folder: Path) -> Source:
    """Read ImageNet-R, split as in the published Si-Blurry code.

    Of the sorted images, the first 80 % of ``torch.randperm(n)`` with generator seed 0 are training
    images, the rest test images, both in ascending order (24000 and 6000 of 30000).
    """
    classes = class_folders(folder)
    found = scan_images([folder / name for name in classes])
    n = len(found.labels)
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
    train = replace(found, labels=np.array(ordered)[found.labels])
    test = Part(test_paths, np.array([wnid for wnid, _ in listed]))
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
    return Source(Part(paths, targets).divided(in_test), classes)

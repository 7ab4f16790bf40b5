"""Data sets by name, or your own: images in [0, 1] and labels 0..C-1, checked before anything runs."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.errors import InputError, unknown
from cl_prompts.scenarios import sources
from cl_prompts.scenarios.classes import check_classes, choose_classes, labels_of, whole_number
from cl_prompts.scenarios.sources import Images, LayoutError, Reader, Source
from cl_prompts.scenarios.transforms import Augmentation, ImageTransform, PrivateRandom

Statistics = tuple[float, float, float]
IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class DataSetEntry:
    """What the registry knows about a data set.

    Args:
        read: turns the data set's folder into images and labels.
        description: one line for ``cl-prompts ls``.
        augmentation: transforms of its training and test images.
        mean, std: statistics of its pixels in [0, 1], per channel.
        layout: what its folder should hold; empty for an embedded data set, which has no folder.
        folder: usual name of its folder; empty where there is none.
        origin: official address of the archive.
        unpack: the commands that fetch and unpack it by hand, with ``{at}`` for the folder above its own.
        download: fetches it into its folder, where torchvision can.
    """

    read: Reader
    description: str
    augmentation: Augmentation
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD
    layout: str = ""
    folder: str = ""
    origin: str = ""
    unpack: str = ""
    download: Callable[[Path], None] | None = None


def _cifar(kind: type[CIFAR10], files: str, mean: Statistics, std: Statistics) -> DataSetEntry:
    n = 10 if kind is CIFAR10 else 100
    return DataSetEntry(
        read=partial(sources.read_cifar, kind),
        description=f"CIFAR-{n}: 50000 training and 10000 test photos of 32x32 pixels, {n} classes",
        augmentation=Augmentation(AutoAugmentPolicy.CIFAR10),
        mean=mean,
        std=std,
        layout=f"{files} of the Python version, or class folders train/<class>/* and test/<class>/*",
        folder=kind.base_folder,
        origin=kind.url,
        unpack=f"wget -P {{at}} {kind.url} && tar -xf {{at}}/{kind.filename} -C {{at}}",
        download=partial(sources.download_cifar, kind),
    )


def _archive(read: Reader, description: str, augmentation: Augmentation, origin: str, **texts: Any) -> DataSetEntry:
    """An entry for an archive to be fetched by hand."""
    name = origin.rsplit("/", 1)[-1]
    extract = f"unzip -q {{at}}/{name} -d {{at}}" if name.endswith(".zip") else f"tar -xf {{at}}/{name} -C {{at}}"
    unpack = f"wget -P {{at}} {origin} && {extract}"
    return DataSetEntry(read, description, augmentation, origin=origin, unpack=unpack, **texts)


DATASETS: dict[str, DataSetEntry] = {
    "digits": DataSetEntry(
        sources.read_digits,
        "scikit-learn's 1797 handwritten digits, enlarged to 32x32, 10 classes, embedded (no download)",
        Augmentation(affine=True, padding=0, flip=False),
        mean=(0.305, 0.305, 0.305),
        std=(0.324, 0.324, 0.324),
    ),
    "cifar10": _cifar(
        CIFAR10,
        "data_batch_1 to data_batch_5, test_batch and batches.meta",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
    ),
    "cifar100": _cifar(
        CIFAR100,
        "the files train, test and meta",
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
    ),
    "tiny_imagenet": _archive(
        sources.read_tiny_imagenet,
        "Tiny-ImageNet: 100000 training and 10000 validation photos of 64x64 pixels, 200 classes",
        Augmentation(AutoAugmentPolicy.IMAGENET),
        origin="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2302, 0.2265, 0.2262),
        layout="wnids.txt, train/<wnid>/images/*, val/images/* and val/val_annotations.txt",
        folder="tiny-imagenet-200",
    ),
    "imagenet_r": _archive(
        sources.read_imagenet_r,
        "ImageNet-R: 30000 renditions (art, cartoons, toys ...) of 200 ImageNet classes, split 24000 / 6000",
        Augmentation(AutoAugmentPolicy.IMAGENET, square_crop=True),
        origin="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        layout="a folder of images per class, <wnid>/*",
        folder="imagenet-r",
    ),
    "cub200": _archive(
        sources.read_cub200,
        "CUB-200-2011: 5994 training and 5794 test photos of birds, 200 classes, official split",
        Augmentation(AutoAugmentPolicy.IMAGENET),
        origin="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        layout="images/, images.txt, image_class_labels.txt, train_test_split.txt and classes.txt",
        folder="CUB_200_2011",
    ),
    "folder": DataSetEntry(
        sources.read_folder,
        "any folder of images: root/train/<class>/* and root/test/<class>/*",
        Augmentation(),
        layout="train/<class>/* and test/<class>/* (or val/<class>/*)",
    ),
}


class ImageSet(Dataset):
    """Images and labels, map-style: ``[i] -> (float32 image (3, size, size) in [0, 1], int label)``.

    Args:
        images: where the images come from.
        targets: labels (n,) int64, of the chosen rows.
        transform: applied to each image; None leaves it as it is.
        rows: rows of ``images`` that belong to the set, in its order; None for all.
    """

    def __init__(
        self, images: Images, targets: np.ndarray, transform: ImageTransform | None, rows: np.ndarray | None = None
    ) -> None:
        self.targets = targets
        self._images = images
        self._transform = transform
        self._rows = np.arange(len(images)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self._images[int(self._rows[index])]
        return image if self._transform is None else self._transform(image), int(self.targets[index])

    def state_dict(self) -> dict[str, int]:
        """State of the augmentation's random numbers; empty where there are none."""
        return self._transform.state_dict() if isinstance(self._transform, PrivateRandom) else {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue the augmentation where ``state_dict`` was taken."""
        if isinstance(self._transform, PrivateRandom):
            self._transform.load_state_dict(state)


@dataclass(frozen=True)
class DataSet:
    """Training and test images of one data set. ``classes[k]`` is the name of label k; mean and std are per channel."""

    name: str
    train: ImageSet = field(repr=False)
    test: ImageSet = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD

    def __str__(self) -> str:
        return f"{self.name}: {len(self.classes)} classes, {len(self.train)} training and {len(self.test)} test images"


def load_dataset(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int,
    classes: int | Sequence[int | str] | None = None,
    class_order: Sequence[int] | int | None = None,
    augment: bool = True,
    download: bool = False,
    seed: int = 0,
    cache: bool = False,
) -> DataSet:
    """A registered data set (``DATASETS``), its classes chosen and relabelled 0..k-1.

    Args:
        name: a key of ``DATASETS``.
        root: the data set's folder, or the one that holds its usual folder. None stands for the usual folder in
            ``$CL_PROMPTS_DATA``, or in ``data`` below the working directory where that is not set.
        image_size: side of the images delivered, in pixels.
        classes: a list picks classes by label or name, in that order; a number keeps the first so many, counted after
            ``class_order``.
        class_order: order of the classes (of those picked, where ``classes`` is a list): a permutation of their
            positions, or the seed (>= 0) of one. A class's label is its position in this order.
        augment: augment training images, each call anew, as the data set's entry says.
        download: fetch a missing data set where torchvision can (CIFAR).
        seed: seed of the augmentation.
        cache: keep small images (up to 128 x 128) decoded in memory where the data set consists of image files.

    Raises:
        InputError: unknown name, bad argument, missing or incomplete data set, a class without images on either side.
        RunError: on access to an image that cannot be read.
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    whole_number("image_size", image_size, least=1)
    whole_number("seed", seed, least=0)
    entry = DATASETS[name]
    source = _read(name, entry, root, download=download, cache=cache)
    chosen = choose_classes(f"data set {name!r}", source.classes, classes, class_order)
    label = np.full(len(source.classes), -1, dtype=np.int64)
    label[chosen] = np.arange(len(chosen))

    def part(images: Images, targets: np.ndarray, transform: ImageTransform) -> ImageSet:
        rows = np.flatnonzero(label[targets] >= 0)
        return ImageSet(images, label[targets[rows]], transform, rows)

    fixed = entry.augmentation.test(image_size)
    fresh = PrivateRandom(entry.augmentation.train(image_size), seed=int(seed)) if augment else fixed
    train = part(source.train, source.train_targets, fresh)
    test = part(source.test, source.test_targets, fixed)
    names = tuple(source.classes[row] for row in chosen)
    check_classes(f"data set {name!r}", train.targets, test.targets, names)
    return DataSet(name, train, test, names, entry.mean, entry.std)


def as_dataset(
    train: Any,
    test: Any,
    classes: Sequence[str] | None = None,
    *,
    name: str = "custom",
    mean: Statistics = IMAGENET_MEAN,
    std: Statistics = IMAGENET_STD,
) -> DataSet:
    """A ``DataSet`` from any two map-style data sets with ``.targets``; no image is touched.

    Args:
        train, test: ``len``, ``[i] -> (float32 image (3, size, size) in [0, 1], ...)`` and ``.targets``, one integer
            0..C-1 per image. Their transforms stay theirs; see ``PrivateRandom`` for augmentation that can be repeated.
        classes: names of the C classes; None for "0", "1", ...
        name: what to call the data set.
        mean, std: statistics of its pixels, per channel.

    Raises:
        InputError: no usable labels, or a class without training or test images.
    """
    what = f"data set {name!r}"
    labels = [labels_of(f"the {part} labels of {what}", data) for part, data in (("training", train), ("test", test))]
    names = None if classes is None else tuple(str(label) for label in classes)
    n_classes = check_classes(what, labels[0], labels[1], names)
    names = names or tuple(str(label) for label in range(n_classes))
    parts = [ImageSet(_ImagesOf(data), targets, None) for data, targets in zip((train, test), labels, strict=True)]
    return DataSet(name, parts[0], parts[1], names, mean, std)


class _ImagesOf:
    """The images of a map-style data set whose items open with the image."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Tensor:
        return self.data[row][0]


def _read(name: str, entry: DataSetEntry, root: str | Path | None, *, download: bool, cache: bool) -> Source:
    if not entry.layout:
        if root is not None:
            raise InputError(f"data set {name!r} is part of the package and has no folder: leave out root ({root})")
        return entry.read(Path(), cache)
    if root is None and not entry.folder:
        raise InputError(f"data set {name!r} needs a root, the folder that holds {entry.layout}")
    folder = _locate(entry, root)
    if download and entry.download is not None:
        try:
            entry.download(folder)
        except (OSError, RuntimeError) as error:
            problem = f"could not be downloaded from {entry.origin} ({error})"
            raise InputError(_guidance(name, entry, folder, problem, by_hand=True)) from error
        folder = _locate(entry, root)
    by_hand = download or entry.download is None
    if not folder.is_dir():
        raise InputError(_guidance(name, entry, folder, "was not found", by_hand=by_hand))
    try:
        return entry.read(folder, cache)
    except LayoutError as error:
        problem = f"is incomplete ({error})"
        raise InputError(_guidance(name, entry, folder, problem, by_hand=by_hand)) from error


def _locate(entry: DataSetEntry, root: str | Path | None) -> Path:
    usual = Path(os.environ.get("CL_PROMPTS_DATA") or "data") / entry.folder
    folder = (usual if root is None else Path(root)).expanduser().absolute()
    inner = folder / entry.folder
    return inner if inner.is_dir() else folder


def _guidance(name: str, entry: DataSetEntry, folder: Path, problem: str, *, by_hand: bool) -> str:
    """One sentence: what is amiss, where it was looked for, what should be there and how it gets there."""
    sentence = f"data set {name!r} {problem}: looked in {folder}, which should hold {entry.layout}"
    if not entry.origin:
        return sentence
    if not by_hand:
        return f"{sentence}; the same command with dataset.download=true fetches it from {entry.origin}"
    above = folder.parent if folder.name == entry.folder else folder
    return f"{sentence}; to fetch it: {entry.unpack.format(at=shlex.quote(str(above)))}"

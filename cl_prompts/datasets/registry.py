"""Data sets by name: the registry and ``load_dataset``, which checks everything before anything
runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.datasets import readers as sources
from cl_prompts.datasets.classes import check_classes, choose_classes, relabel, whole_number
from cl_prompts.datasets.coco import read_coco
from cl_prompts.datasets.csv_table import read_csv
from cl_prompts.datasets.dataset import DataSet, ImageSet, Statistics, as_dataset
from cl_prompts.datasets.digit_scenes import MEAN as DIGIT_MEAN
from cl_prompts.datasets.digit_scenes import STD as DIGIT_STD
from cl_prompts.datasets.digit_scenes import read_digit_scenes
from cl_prompts.datasets.entry import DataSetEntry, read_entry
from cl_prompts.datasets.readers import Reader
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.datasets.voc import read_voc2007
from cl_prompts.errors import InputError, unknown

__all__ = ["DATASETS", "DataSet", "DataSetEntry", "ImageSet", "as_dataset", "load_dataset"]

# MULTI-LANE's transforms of photos with several objects; no padding, so that ``whole()`` cuts
# nothing away.
OBJECTS = Augmentation(padding=0, random_area=True)


def _cifar(kind: type[CIFAR10], files: str, mean: Statistics, std: Statistics) -> DataSetEntry:
    n = 10 if kind is CIFAR10 else 100
    return DataSetEntry(
        read=partial(sources.read_cifar, kind),
        description=f"CIFAR-{n}: 50000 training and 10000 test photos of 32x32 pixels, {n} classes",
        augmentation=Augmentation(AutoAugmentPolicy.CIFAR10),
        mean=mean,
        std=std,
        layout=(
            f"{files} of the Python version, or class folders train/<class>/* and test/<class>/*"
        ),
        folder=kind.base_folder,
        origin=kind.url,
        unpack=f"wget -P {{at}} {kind.url} && tar -xf {{at}}/{kind.filename} -C {{at}}",
        download=partial(sources.download_cifar, kind),
    )


def _archive(
    read: Reader, description: str, augmentation: Augmentation, origin: str, **texts: Any
) -> DataSetEntry:
    """An entry for an archive to be fetched by hand."""
    name = origin.rsplit("/", 1)[-1]
    extract = (
        f"unzip -q {{at}}/{name} -d {{at}}"
        if name.endswith(".zip")
        else f"tar -xf {{at}}/{name} -C {{at}}"
    )
    unpack = f"wget -P {{at}} {origin} && {extract}"
    return DataSetEntry(read, description, augmentation, origin=origin, unpack=unpack, **texts)


def _coco(year: int) -> DataSetEntry:
    site = "http://images.cocodataset.org"
    counts = "82783 training and 40504" if year == 2014 else "118287 training and 5000"
    files = f"zips/train{year} zips/val{year} annotations/annotations_trainval{year}"
    fetch = (
        f"wget -P {{at}}/coco {site}/$f.zip && unzip -q {{at}}/coco/$(basename $f).zip -d"
        " {at}/coco"
    )
    return DataSetEntry(
        partial(read_coco, year),
        f"COCO {year}: {counts} test (validation) photos, 80 classes, several in an image",
        OBJECTS,
        layout=f"train{year}/, val{year}/ and annotations/instances_{{train,val}}{year}.json",
        folder="coco",
        origin="https://cocodataset.org",
        unpack=f"for f in {files}; do {fetch}; done",
    )


_VOC_SITE = "http://host.robots.ox.ac.uk/pascal/VOC/voc2007"

DATASETS: dict[str, DataSetEntry] = {
    "digits": DataSetEntry(
        sources.read_digits,
        "scikit-learn's 1797 handwritten digits, enlarged to 32x32, 10 classes, embedded (no"
        " download)",
        Augmentation(affine=1, padding=0, flip=False),
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
        "ImageNet-R: 30000 renditions (art, cartoons, toys ...) of 200 ImageNet classes, split"
        " 24000 / 6000",
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
    "digit_scenes": DataSetEntry(
        read_digit_scenes,
        "1500 training and 500 test scenes of 1 to 4 handwritten digits, 64x64, 10 classes,"
        " embedded (no download)",
        Augmentation(affine=0.5, padding=0, flip=False),
        mean=DIGIT_MEAN,
        std=DIGIT_STD,
    ),
    "voc2007": DataSetEntry(
        read_voc2007,
        "PASCAL VOC 2007: 5011 training and 4952 test photos, 20 classes, several in an image",
        OBJECTS,
        layout="JPEGImages/ and ImageSets/Main/<class>_<split>.txt",
        folder="VOCdevkit/VOC2007",
        origin=_VOC_SITE,
        unpack=(
            "for f in VOCtrainval_06-Nov-2007.tar VOCtest_06-Nov-2007.tar; do "
            f"wget -P {{at}} {_VOC_SITE}/$f && tar -xf {{at}}/$f -C {{at}}; done"
        ),
        options=("splits", "difficult"),
    ),
    "coco2014": _coco(2014),
    "coco2017": _coco(2017),
    "csv": DataSetEntry(
        read_csv,
        "any images with several labels: root/train.csv and root/test.csv, rows of"
        " path,label;label",
        OBJECTS,
        layout=(
            "train.csv and test.csv with the header path,label and rows like images/a.jpg,cat;dog"
        ),
    ),
}


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
    cache_gb: float = 4.0,
    crop: Literal["published", "whole", "random_area"] | None = None,
    splits: str | None = None,
    difficult: Literal["negative", "ignore"] | None = None,
) -> DataSet:
    """A registered data set (``DATASETS``), its classes chosen and relabelled 0..k-1.

    Args:
        name: a key of ``DATASETS``.
        root: the data set's folder, or the one that holds its usual folder. None stands for the
            usual folder in ``$CL_PROMPTS_DATA``, or in ``data`` below the working directory where
            that is not set.
        image_size: side of the images delivered, in pixels.
        classes: a list picks classes by label or name, in that order; a number keeps the first so
            many, counted after ``class_order``. Images of other classes are left out; multi-label
            images all stay, if need be with no label.
        class_order: order of the classes (of those picked, where ``classes`` is a list): a
            permutation of their positions, or the seed (>= 0) of one. A class's label is its
            position in this order.
        augment: augment training images, each call anew, as the data set's entry says.
        download: fetch a missing data set where torchvision can (CIFAR).
        seed: seed of the augmentation.
        cache: keep decoded images in memory where the data set consists of image files, as uint8.
            Each DataLoader worker keeps its own, so it pays without workers or with persistent
            ones. Images of more than 128 x 128 pixels are kept reduced, so that their shorter side
            has the length to which test images are brought: random crops are then cut from the
                reduced image, a little blurrier where they are small; centre crops of MULTI-LANE's
                kind
            stay the same.
        cache_gb: gigabytes (of 10^9 bytes) that one copy of the cache may come to take.
        crop: "published" (also None) augments and cuts as the data set's entry says; "whole", for
            photos that it cuts to a square, squeezes the whole image into the square, as KRT (ICCV
            2023) does, so that no labelled object is cut away; "random_area", in the place of all
            that the entry says but whether to flip, trains on random parts of the image and tests
            on its central square, as L2P and DualPrompt do (see
            :class:`~cl_prompts.datasets.transforms.Augmentation`).
        splits: of VOC 2007, "training/test": None is trainval/test; train/val needs no test
            archive.
        difficult: of VOC 2007, classes of which an image has difficult objects only: "negative"
            (also None), as published, or "ignore", which leaves these pairs out of average
            precision (``.ignored``).

    Raises:
        InputError: unknown name, bad argument, missing or incomplete data set, a class without
            images on either side, images that are in both parts of a multi-label set, a cache that
            would not fit.
        RunError: on access to an image that cannot be read (with ``cache``, a few are looked at
            here).
    """
    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    whole_number("image_size", image_size, least=1)
    whole_number("seed", seed, least=0)
    entry = DATASETS[name]
    what = f"data set {name!r}"
    options = _options(name, {"splits": splits, "difficult": difficult})
    augmentation = _augmentation(name, crop)
    kept_side = augmentation.shorter_side(image_size) if cache else None
    source = read_entry(name, entry, root, download=download, cache=kept_side, **options)
    chosen = choose_classes(what, source.classes, classes, class_order)
    fixed = augmentation.test(image_size)
    fresh = PrivateRandom(augmentation.train(image_size), seed=int(seed)) if augment else fixed
    parts = []
    for images, targets, ignored, transform in (
        (source.train, source.train_targets, source.train_ignored, fresh),
        (source.test, source.test_targets, source.test_ignored, fixed),
    ):
        rows, labels = relabel(targets, chosen, len(source.classes))
        parts.append(
            ImageSet(
                images, labels, transform, rows, None if ignored is None else ignored[:, chosen]
            )
        )
    names = tuple(source.classes[row] for row in chosen)
    check_classes(what, parts[0].targets, parts[1].targets, names)
    if cache:
        _check_memory(what, parts, cache_gb)
    return DataSet(name, parts[0], parts[1], names, entry.mean, entry.std)


def _options(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, after making sure that the data set has them."""
    options = {key: value for key, value in given.items() if value is not None}
    for key in options:
        if key not in DATASETS[name].options:
            having = ", ".join(other for other, entry in DATASETS.items() if key in entry.options)
            raise InputError(f"data set {name!r} has no {key}: leave it out, it is for {having}")
    return options


def _augmentation(name: str, crop: str | None) -> Augmentation:
    augmentation = DATASETS[name].augmentation
    if crop in (None, "published"):
        return augmentation
    if crop == "random_area":
        return replace(OBJECTS, flip=augmentation.flip)
    if crop != "whole":
        raise unknown("crop", str(crop), ("published", "whole", "random_area"))
    if not augmentation.cuts:
        having = ", ".join(other for other, entry in DATASETS.items() if entry.augmentation.cuts)
        raise InputError(
            f"images of data set {name!r} are not cut to a square: leave out crop=whole, it is for"
            f" {having}"
        )
    return augmentation.whole()


def _check_memory(what: str, parts: Sequence[ImageSet], limit: float) -> None:
    needed = sum(part.bytes_kept() for part in parts) / 1e9
    if needed > limit:
        raise InputError(
            f"cache would keep about {needed:.1f} GB of {what} in memory, more than"
            f" cache_gb={limit:g}: raise cache_gb if there is that much memory, choose a smaller"
            " image_size, or leave out cache"
        )

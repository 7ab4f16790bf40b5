"""Data sets by name: how to find, download, read and augment each."""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torchvision.datasets import CIFAR10, CIFAR100
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.datasets import digits, readers
from cl_prompts.datasets.csv_table import read_csv
from cl_prompts.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD, Statistics
from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.folders import read_any_folder, read_domainnet
from cl_prompts.datasets.hub import read_hf, read_webdataset
from cl_prompts.datasets.readers import Reader
from cl_prompts.datasets.source import Source
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.errors import InputError


@dataclass(frozen=True)
class DataSetEntry:
    """A registered data set.

    >>> DataSetEntry(read_any_folder, Augmentation(), layout="train/<class>/*").folder
    ''

    Args:
        read: maps the data set's folder to images and labels; its keyword arguments are options of
            ``load_dataset``.
        augmentation: transforms of its training and test images.
        mean, std: statistics of its pixels in [0, 1], per channel.
        layout: expected contents of its folder; empty for a data set without one.
        folder: its usual folder within the folder of all data, or empty.
        origin: official URL of the archive or of its page.
        downloads: whether its reader can download it.
        description: its line in lists.
    """

    read: Reader
    augmentation: Augmentation
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD
    layout: str = ""
    folder: str = ""
    origin: str = ""
    downloads: bool = False
    description: str = ""


# MULTI-LANE's transforms; without padding, so that crop="whole" shows every object.
OBJECTS = Augmentation(padding=0, crop="random_area")


def _cifar(kind: type[CIFAR10], files: str, **texts: Any) -> DataSetEntry:
    return DataSetEntry(
        read=partial(readers.read_cifar, kind),
        augmentation=Augmentation(AutoAugmentPolicy.CIFAR10),
        layout=f"{files} of the Python version",
        folder=kind.base_folder,
        origin=kind.url,
        downloads=True,
        **texts,
    )


def _coco(year: int, n_train: int, n_test: int) -> DataSetEntry:
    return DataSetEntry(
        partial(readers.read_coco, year),
        OBJECTS,
        layout=f"train{year}/, val{year}/ and annotations/instances_{{train,val}}{year}.json",
        folder="coco",
        origin="https://cocodataset.org",
        description=f"COCO {year}: {n_train} training and {n_test} test photos, 80 classes, several"
        " in an image",
    )


DATASETS: dict[str, DataSetEntry] = {
    "digits": DataSetEntry(
        digits.read_digits,
        # A mirrored digit is usually not a digit.
        Augmentation(affine=1, padding=0, flip=False),
        mean=(0.305, 0.305, 0.305),
        std=(0.324, 0.324, 0.324),
        description="scikit-learn's 1797 handwritten digits, 32x32 pixels, 10 classes, embedded",
    ),
    "cifar10": _cifar(
        CIFAR10,
        "data_batch_1 to data_batch_5, test_batch and batches.meta",
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        description="CIFAR-10: 50000 training and 10000 test photos of 32x32 pixels, 10 classes",
    ),
    "cifar100": _cifar(
        CIFAR100,
        "the files train, test and meta",
        mean=(0.5071, 0.4867, 0.4408),
        std=(0.2675, 0.2565, 0.2761),
        description="CIFAR-100: 50000 training and 10000 test photos of 32x32 pixels, 100 classes",
    ),
    "tiny_imagenet": DataSetEntry(
        readers.read_tiny_imagenet,
        Augmentation(AutoAugmentPolicy.IMAGENET),
        origin="http://cs231n.stanford.edu/tiny-imagenet-200.zip",
        mean=(0.4802, 0.4481, 0.3975),
        std=(0.2302, 0.2265, 0.2262),
        layout="wnids.txt, train/<wnid>/images/*, val/images/* and val/val_annotations.txt",
        folder="tiny-imagenet-200",
        description="Tiny-ImageNet: 100000 training and 10000 validation photos, 200 classes",
    ),
    "imagenet_r": DataSetEntry(
        readers.read_imagenet_r,
        # As published: resize the shorter side to 256, crop a square of 224.
        Augmentation(AutoAugmentPolicy.IMAGENET, crop="square"),
        origin="https://people.eecs.berkeley.edu/~hendrycks/imagenet-r.tar",
        layout="a folder of images per class, <wnid>/*",
        folder="imagenet-r",
        description="ImageNet-R: 30000 renditions of 200 ImageNet classes, split 24000 / 6000",
    ),
    "cub200": DataSetEntry(
        readers.read_cub200,
        Augmentation(AutoAugmentPolicy.IMAGENET),
        origin="https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",
        layout="images/, images.txt, image_class_labels.txt, train_test_split.txt and classes.txt",
        folder="CUB_200_2011",
        description="CUB-200-2011: 5994 training and 5794 test photos of birds, 200 classes",
    ),
    "grocery": DataSetEntry(
        readers.read_grocery,
        Augmentation(AutoAugmentPolicy.IMAGENET),
        layout="train.txt, val.txt, test.txt, classes.csv and the images that the lists name",
        folder="GroceryStoreDataset/dataset",
        origin="https://github.com/marcusklasson/GroceryStoreDataset",
        description="GroceryStoreDataset: 5421 photos by phone, 81 or 42 classes, MIT licence",
    ),
    "folder": DataSetEntry(
        read_any_folder,
        Augmentation(),
        layout=(
            "train/<class>/* and test/<class>/* (or val/<class>/*), or <class>/* alone with"
            " test_percent=20; with domains=true a folder <domain> above each <class>"
        ),
        description="images in root/train/<class>/* and root/test/<class>/*, or in root/<class>/*",
    ),
    "hf": DataSetEntry(
        read_hf,
        Augmentation(),
        description="a data set of the Hugging Face hub, or a local one in its formats: path=NAME",
    ),
    "digit_domains": DataSetEntry(
        digits.read_digit_domains,
        Augmentation(affine=1, padding=0, flip=False),
        mean=(0.402, 0.402, 0.402),
        std=(0.355, 0.355, 0.355),
        description="the digits in four domains: upright, rotated, inverted and blurred, embedded",
    ),
    "digit_scenes": DataSetEntry(
        digits.read_digit_scenes,
        Augmentation(affine=0.5, padding=0, flip=False),
        mean=(0.160, 0.160, 0.160),
        std=(0.280, 0.280, 0.280),
        description="2000 scenes of 1 to 4 handwritten digits, 64x64, 10 classes, embedded",
    ),
    "voc2007": DataSetEntry(
        readers.read_voc2007,
        OBJECTS,
        layout="JPEGImages/ and ImageSets/Main/<class>_<split>.txt",
        folder="VOCdevkit/VOC2007",
        origin="http://host.robots.ox.ac.uk/pascal/VOC/voc2007",
        description="VOC 2007: 5011 training and 4952 test photos, 20 classes, several in an image",
    ),
    "coco2014": _coco(2014, 82783, 40504),
    "coco2017": _coco(2017, 118287, 5000),
    "csv": DataSetEntry(
        read_csv,
        OBJECTS,
        layout=(
            "train.csv and test.csv with the header path,label and rows like images/a.jpg,cat;dog,"
            " or path,label,domain and images/a.jpg,cat,sketch"
        ),
        description="images with several labels, or domains: root/train.csv and root/test.csv",
    ),
    "webdataset": DataSetEntry(
        read_webdataset,
        Augmentation(),
        layout="train*.tar and test*.tar with pairs of files like 7.jpg and 7.cls or 7.json",
        description="WebDataset shards root/train*.tar and root/test*.tar, read at random",
    ),
    "domainnet": DataSetEntry(
        read_domainnet,
        Augmentation(AutoAugmentPolicy.IMAGENET),
        layout="<domain>_train.txt, <domain>_test.txt and <domain>/<class>/* for each domain",
        folder="domainnet",
        origin="http://ai.bu.edu/M3SDA",
        description="DomainNet: 0.6 million images of 345 classes in 6 domains, official lists",
    ),
}


def read_entry(name: str, root: str | Path | None, *, download: bool, **options: object) -> Source:
    """Read the images and labels of a registered data set.

    Args:
        name: key of ``DATASETS``.
        root, download: see ``load_dataset``.
        options: of the entry's reader.

    Raises:
        InputError: missing or incomplete data set.
    """
    entry = DATASETS[name]
    folder = folder_of(name, root, download=download)
    if folder is None:
        return entry.read(Path(), **options)
    if download and entry.downloads:
        options["download"] = True
    try:
        return entry.read(folder, **options)
    except Exception as error:  # files that differ from the layout raise nearly every error
        if isinstance(error, InputError) and not isinstance(error, LayoutError):
            raise
        said = str(error) if isinstance(error, LayoutError | OSError) else repr(error)
        if isinstance(error, FileNotFoundError):
            said = f"{error.filename} is missing"
        raise _missing(name, entry, folder, f"is incomplete ({said})") from error


def folder_of(name: str, root: str | Path | None, *, download: bool = False) -> Path | None:
    """Return the folder of a registered data set; None if it has none.

    Raises:
        InputError: it does not exist and is not downloaded.
    """
    entry = DATASETS[name]
    if not entry.layout:
        return None
    if root is None and not entry.folder:
        raise InputError(f"data set {name!r} needs a root, the folder with {entry.layout}")
    folder = _locate(entry, root)
    if not (download and entry.downloads) and not folder.exists():
        raise _missing(name, entry, folder, "was not found")
    return folder


def _locate(entry: DataSetEntry, root: str | Path | None) -> Path:
    """Return the data set's folder: ``root``, or its usual folder within."""
    usual = Path(entry.folder)
    base = Path(os.environ.get("CL_PROMPTS_DATA") or "data") / usual if root is None else Path(root)
    folder = base.expanduser().absolute()
    # root may be a parent folder: take the longest existing end of the usual path.
    inner = [folder.joinpath(*usual.parts[start:]) for start in range(len(usual.parts))]
    return next((place for place in inner if place.is_dir()), folder)


def _missing(name: str, entry: DataSetEntry, folder: Path, problem: str) -> InputError:
    """Build the error with the folder, its layout and how to download it."""
    sentence = f"data set {name!r} {problem}: {folder} should have {entry.layout}"
    if entry.origin:
        option = ", or set dataset.download=true" if entry.downloads else ""
        sentence += f". Download it from {entry.origin}{option}"
    return InputError(sentence)

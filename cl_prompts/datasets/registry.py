"""Data sets by name, and ``load_dataset``, which checks everything before anything runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cl_prompts.checks import fits, one_of, positive, whole_number
from cl_prompts.datasets.bad_images import OnBadImage, check_images, handle_bad_images
from cl_prompts.datasets.catalog import DATASETS, OBJECTS, DataSetEntry, read_entry
from cl_prompts.datasets.classes import check_classes, choose_classes, relabel
from cl_prompts.datasets.dataset import DataSet, ImageSet, as_dataset
from cl_prompts.datasets.fingerprint import check_files
from cl_prompts.datasets.images import ImageCache, reduced
from cl_prompts.datasets.readers import Source
from cl_prompts.datasets.transforms import Augmentation, ImageTransform, PrivateRandom
from cl_prompts.errors import unknown
from cl_prompts.user_code import call_function, keywords, load_function

Crop = Literal["published", "whole", "square", "random_area"]

__all__ = [
    "DATASETS",
    "DataSet",
    "DataSetEntry",
    "ImageSet",
    "as_dataset",
    "check_images",
    "dataset_options",
    "find_dataset",
    "load_dataset",
]


def find_dataset(name: str) -> DataSetEntry | Callable[..., DataSet]:
    """The registry's entry of a short name, or the function that a dotted name stands for.

    >>> find_dataset("coco2014").description
    'COCO 2014: 82783 training and 40504 test photos, 80 classes, several in an image'

    Args:
        name: a key of ``DATASETS``, or ``"package.module:function"``; see :func:`load_dataset`.

    Raises:
        InputError: unknown name, or no function that wears ``@cl_prompts.dataset``.
    """
    if ":" not in name:
        one_of("data set", name, DATASETS)
        return DATASETS[name]
    function: Callable[..., DataSet] = load_function("data set", name)
    return function


def dataset_options(name: str) -> dict[str, tuple[Any, Any]]:
    """Options of a data set's own: what ``load_dataset`` passes on to its reader or function.

    >>> list(dataset_options("voc2007"))
    ['splits', 'difficult']

    Args:
        name: as for :func:`load_dataset`.

    Returns:
        name of each option -> (type, default), the default ``...`` where there is none.

    Raises:
        InputError: unknown name.
    """
    found = find_dataset(name)
    if isinstance(found, DataSetEntry):
        return keywords(found.read, {"folder", "cache"})
    return keywords(found, {"image_size", "seed"})


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
    crop: Crop | None = None,
    on_bad_image: OnBadImage = "fail",
    **options: Any,
) -> DataSet:
    """A data set by name, its classes chosen and relabelled 0..k-1.

    >>> print(load_dataset("digits", image_size=32, classes=3))
    digits: 3 classes, 431 training and 106 test images

    Args:
        name: a key of ``DATASETS``, or ``"package.module:function"``: a function that wears
            ``@cl_prompts.dataset`` and returns a ``DataSet`` (see ``as_dataset``). It is given
            ``image_size`` and ``seed`` if it declares them, and any other argument that is not
            left at its default here, which it must declare.
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
            reduced image, a little blurrier where they are small; centre crops of MULTI-LANE's kind
            stay the same.
        cache_gb: gigabytes (of 10^9 bytes) that one copy of the cache takes at most; images beyond
            them are decoded each time.
        crop: "published" (also None) augments and cuts as the data set's entry says; "whole", for
            photos that it cuts to a square, squeezes the whole image into the square, as KRT (ICCV
            2023) does, so that no labelled object is cut away; "square" cuts one, as published for
            ImageNet-R; "random_area", in the place of all that the entry says but whether to flip,
            trains on random parts of the image and tests on its central square, as L2P and
            DualPrompt do (see ``square_crop`` and ``random_area`` of
            :class:`~cl_prompts.datasets.transforms.Augmentation`).
        on_bad_image: image files that cannot be read: "fail" opens and decodes every file of the
            chosen classes here, before any training, and refuses the data set if one is bad;
            "skip" leaves bad ones out (``.skipped`` lists them); "defer" opens none here, which
            saves the time of one pass over the images, and a bad one ends the run that meets it.
        options: of the data set's own (:func:`dataset_options`), such as ``splits`` and
            ``difficult`` of :func:`~cl_prompts.datasets.voc.read_voc2007`; None leaves one at its
            default.

    Raises:
        InputError: unknown name, bad argument, missing or incomplete data set, a class without
            images on either side, a file that is both a training and a test image, an unreadable
            image.
        RunError: on access to an image that cannot be read.
    """
    whole_number("image_size", image_size)
    seed = whole_number("seed", seed, 0)
    positive(cache_gb=cache_gb)
    one_of("on_bad_image", on_bad_image, OnBadImage)
    entry = find_dataset(name)
    options = {key: value for key, value in options.items() if value is not None}
    if isinstance(entry, DataSetEntry):
        options = _checked_options(name, options)
        data = dataset_of(
            name,
            partial(read_entry, name, entry, root, download=download, **options),
            image_size=image_size,
            classes=classes,
            class_order=class_order,
            augment=augment,
            seed=seed,
            cache=cache,
            cache_gb=cache_gb,
            crop=crop,
        )
        check_files(f"data set {name!r}", data.train.files, data.test.files)
    else:
        arguments = {
            "root": root,
            "classes": classes,
            "class_order": class_order,
            "augment": augment,
            "download": download,
            "cache": cache,
            "cache_gb": cache_gb,
            "crop": crop,
        }
        usual = keywords(load_dataset, set())
        given = {key: v for key, v in arguments.items() if not _same(v, usual[key][1])}
        data = dataset_of_function(name, given | options, image_size=image_size, seed=seed)
    if on_bad_image != "defer" and data.files:
        data = handle_bad_images(data, check_images(data), on_bad_image)
    return data


def dataset_of(
    name: str,
    read: Callable[..., Source],
    *,
    image_size: int,
    seed: int,
    classes: int | Sequence[int | str] | None = None,
    class_order: Sequence[int] | int | None = None,
    augment: bool = True,
    cache: bool = False,
    cache_gb: float = 4.0,
    crop: Crop | None = None,
) -> DataSet:
    """A registered data set of images that were found elsewhere; see :func:`load_dataset`.

    Args:
        read: gives the images, with ``cache`` as :class:`~cl_prompts.datasets.images.FileImages`
            has it.

    Raises:
        InputError: an argument that does not fit, or a class without images.
    """
    what = f"data set {name!r}"
    entry = DATASETS[name]
    augmentation = _augmentation(what, entry, crop)
    room = round(1e9 * cache_gb)
    source = read(cache=ImageCache(augmentation.shorter_side(image_size), room) if cache else None)
    chosen = choose_classes(what, source.classes, classes, class_order)
    fresh = fixed = augmentation.test(image_size)
    if augment:
        fresh = PrivateRandom(augmentation.train(image_size), seed=seed)
    parts = []
    for images, targets, ignored, domains, transform in (
        (source.train, source.train_targets, source.train_ignored, source.train_domains, fresh),
        (source.test, source.test_targets, source.test_ignored, source.test_domains, fixed),
    ):
        rows, labels = relabel(targets, chosen, len(source.classes))
        left_out = None if ignored is None else ignored[:, chosen]
        own = domains if domains is None or rows is None else domains[rows]
        parts.append(ImageSet(images, labels, transform, rows, left_out, fixed, own))
    train, test = parts
    names = tuple(source.classes[label] for label in chosen)
    check_classes(what, train.targets, test.targets, names)
    return DataSet(name, train, test, names, entry.mean, entry.std, unread=source.unread)


def dataset_of_function(name: str, given: Mapping[str, Any], **offered: int) -> DataSet:
    """The data set of a user's function, by its dotted name.

    Args:
        name: of the function.
        given: arguments, all of which it must declare.
        offered: ``image_size`` and ``seed``, of which it is given what it declares.

    Raises:
        InputError: no such function, an argument that it does not declare, or see
            :func:`load_dataset`.
    """
    function: Any = find_dataset(name)
    declared = signature(function).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in declared.values()):
        for key in given:
            one_of(f"argument of data set {name!r}", key, declared)
    given = {key: value for key, value in offered.items() if key in declared} | dict(given)
    made: DataSet = call_function("data set", name, function, given, DataSet)
    check_files(f"data set {name!r}", made.train.files, made.test.files)
    return made


def _same(value: Any, default: Any) -> bool:
    """Whether an argument was left at its default; lists and arrays never are."""
    return value is default or (np.isscalar(value) and bool(value == default))


def _checked_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a registered data set, which has them, and takes values of their types."""
    known = dataset_options(name)
    for key in options:
        if key not in known:
            everything = {**known, **keywords(load_dataset, set())}
            raise unknown(f"option of data set {name!r}", key, everything)
    of = f"data set {name!r}"
    return {key: fits(key, value, known[key][0], of=of) for key, value in options.items()}


def fixed_transform(
    name: str, image_size: int, crop: Crop | None = None, *, cache: bool = False
) -> ImageTransform:
    """The transform of a registered data set's test images: uint8 (3, height, width) in, float32
    (3, image_size, image_size) in [0, 1], RGB out; see :func:`load_dataset`.

    Raises:
        InputError: unknown name or crop.

    >>> import torch
    >>> fixed_transform("folder", 32)(torch.zeros(3, 40, 60, dtype=torch.uint8)).shape
    torch.Size([3, 32, 32])
    """
    one_of("data set", name, DATASETS)
    augmentation = _augmentation(f"data set {name!r}", DATASETS[name], crop)
    transform = augmentation.test(image_size)
    if not cache:
        return transform
    # A cache keeps large images reduced, and so a run with one has learned from other pixels.
    side = augmentation.shorter_side(image_size)
    return lambda image: transform(reduced(image, side))


def crop_of(name: str, crop: Crop | None = None) -> Crop:
    """How test images of a registered data set become squares: a crop other than "published".

    >>> crop_of("csv"), crop_of("csv", "whole"), crop_of("imagenet_r")
    ('random_area', 'whole', 'square')

    Raises:
        InputError: unknown name or crop.
    """
    one_of("data set", name, DATASETS)
    return _augmentation(f"data set {name!r}", DATASETS[name], crop).crop


def _augmentation(what: str, entry: DataSetEntry, crop: Crop | None) -> Augmentation:
    own = entry.augmentation
    if crop is None:
        return own
    one_of("crop", crop, Crop)
    if crop == "published":
        return own
    if crop == "random_area":
        return replace(OBJECTS, flip=own.flip)
    if crop == "square":
        return replace(own, square_crop=True, random_area=False)
    return replace(own, square_crop=False, random_area=False)

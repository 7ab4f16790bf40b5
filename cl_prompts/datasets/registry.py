"""Data sets by name: load, choose classes, and check."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any

from cl_prompts.checks import fits, one_of, whole_number
from cl_prompts.datasets.bad_images import OnBadImage, check_images, handle_bad_images
from cl_prompts.datasets.catalog import DATASETS, OBJECTS, DataSetEntry, read_entry
from cl_prompts.datasets.classes import check_classes, choose_classes, relabel
from cl_prompts.datasets.dataset import DataSet
from cl_prompts.datasets.fingerprint import check_files
from cl_prompts.datasets.transforms import Augmentation, Crop, PrivateRandom
from cl_prompts.errors import unknown
from cl_prompts.user_code import Parameters, call_function, keywords, load_function


def find_dataset(name: str) -> DataSetEntry | Callable[..., DataSet]:
    """Return the registry's entry of a short name, or the function of a dotted name.

    >>> find_dataset("coco2014").description
    'COCO 2014: 82783 training and 40504 test photos, 80 classes, several in an image'

    Args:
        name: a key of ``DATASETS``, or ``"package.module:function"``: a function with the decorator
            ``@cl_prompts.dataset`` that returns a ``DataSet`` (see ``as_dataset``).

    Raises:
        InputError: unknown name, or a function without the decorator ``@cl_prompts.dataset``.
    """
    if ":" not in name:
        one_of("data set", name, DATASETS)
        return DATASETS[name]
    return load_function("data set", name)


def dataset_options(name: str) -> Parameters:
    """Return the options that ``load_dataset`` passes to a data set's reader or function.

    >>> list(dataset_options("voc2007"))
    ['splits', 'difficult']

    Args:
        name: as for :func:`find_dataset`.

    Returns:
        name of each option -> (type, default); ``...`` for no default.

    Raises:
        InputError: unknown name.
    """
    found = find_dataset(name)
    if isinstance(found, DataSetEntry):
        return keywords(found.read, {"folder", "download"})
    return keywords(found, {"image_size", "seed"})


def load_dataset(
    name: str,
    *,
    root: str | Path | None = None,
    image_size: int,
    classes: int | Sequence[int | str] | None = None,
    augment: bool = True,
    download: bool = False,
    seed: int = 0,
    crop: Crop | None = None,
    on_bad_image: OnBadImage = "fail",
    known: Sequence[str] = (),
    **options: Any,
) -> DataSet:
    """Load a data set by name, with chosen classes relabelled 0..k-1.

    >>> print(load_dataset("digits", image_size=32, classes=3))
    digits: 3 classes, 431 training and 106 test images

    Args:
        name: a key of ``DATASETS``.
        root: the data set's folder, or the parent of its usual folder. None means
            ``$CL_PROMPTS_DATA``, or ``data`` in the working directory.
        image_size: side of the returned images, in pixels.
        classes: list of labels or names, in the order of the new labels; or the number of classes
            to keep, the first ones. Images of other classes are dropped; multi-label images all
            remain, some perhaps without a label.
        augment: augment training images, each time anew, as the data set's entry defines.
        download: download a missing data set, if torchvision can (CIFAR).
        seed: seed of the augmentation.
        crop: None is the entry's own, as published; "whole" resizes the whole image to the square,
            as KRT (ICCV 2023) does, so that no labelled object is lost; "square" crops a square, as
            published for ImageNet-R; "random_area" trains on random parts of the image and tests on
            its central square, as L2P and DualPrompt do, and keeps only the flip of the entry (see
            :class:`~cl_prompts.datasets.transforms.Augmentation`).
        on_bad_image: policy for unreadable image files: "fail" decodes every file of the chosen
            classes before training, and refuses the data set if one is unreadable; "skip" removes
            such files (listed in ``.skipped``); "defer" checks nothing here, which saves one pass
            over the images, and an unreadable file stops the run.
        known: classes of an earlier data set, which may lack training or test images.
        options: of the data set (:func:`dataset_options`), such as ``splits`` and ``difficult`` of
            :func:`~cl_prompts.datasets.readers.read_voc2007`; None means the default.

    Raises:
        InputError: unknown name, bad argument, missing or incomplete data set, a class without
            training or test images, a file in both parts, an unreadable image.
        RunError: on access to an unreadable image.
    """
    whole_number("image_size", image_size)
    seed = whole_number("seed", seed, 0)
    one_of("on_bad_image", on_bad_image, OnBadImage)
    augmentation = augmentation_of(name, crop)
    options = {key: value for key, value in options.items() if value is not None}
    source = read_entry(name, root, download=download, **_checked_options(name, options))
    what = f"data set {name!r}"
    chosen = choose_classes(what, source.classes, classes)
    names = tuple(source.classes[label] for label in chosen)
    groups = tuple(source.groups[label] for label in chosen) if source.groups else ()
    fixed = augmentation.test(image_size)
    random = PrivateRandom(augmentation.train(image_size), seed=seed) if augment else fixed
    entry = DATASETS[name]
    on_hub = "path" in options and not Path(options["path"]).expanduser().is_dir()
    parts = []
    for part, transform in zip(source.parts, (random, fixed), strict=True):
        rows, labels = relabel(part.targets, chosen, len(source.classes))
        own = replace(
            part.at(rows),
            targets=labels,
            transform=transform,
            ignored=None if part.ignored is None else part.ignored[:, chosen],
            fixed=fixed,
            published=bool(entry.origin) or on_hub,
            classes=names,
            groups=groups,
        )
        parts.append(own)
    train, test = parts
    check_classes(what, train.targets, test.targets, names, known)
    check_files(what, train.files, test.files)
    data = DataSet(name, train, test, names, entry.mean, entry.std)
    if on_bad_image != "defer" and data.files:
        data = handle_bad_images(data, check_images(data), on_bad_image)
    return data


def dataset_of_function(name: str, given: Mapping[str, object], **offered: int) -> DataSet:
    """Call a user's function, by its dotted name, and check its data set.

    Args:
        name: of the function.
        given: arguments, all of which it must declare.
        offered: ``image_size`` and ``seed``, passed if it declares them.

    Raises:
        InputError: an unknown function, or another result.
    """
    function: Any = find_dataset(name)
    declared = signature(function).parameters
    given = {key: value for key, value in offered.items() if key in declared} | dict(given)
    made: DataSet = call_function("data set", name, function, given, DataSet)
    check_files(f"data set {name!r}", made.train.files, made.test.files)
    return made


def _checked_options(name: str, options: Mapping[str, object]) -> dict[str, object]:
    """Check the names and types of a registered data set's options."""
    known = dataset_options(name)
    for key in options:
        if key not in known:
            everything = {**known, **keywords(load_dataset, set())}
            raise unknown(f"option of data set {name!r}", key, everything)
    of = f"data set {name!r}"
    return {key: fits(key, value, known[key][0], of=of) for key, value in options.items()}


def augmentation_of(name: str, crop: Crop | None = None) -> Augmentation:
    """Return the transforms of a registered data set; see :func:`load_dataset`.

    >>> augmentation_of("csv").crop, augmentation_of("csv", "whole").crop
    ('random_area', 'whole')

    Raises:
        InputError: unknown name or crop.
    """
    one_of("data set", name, DATASETS)
    own = DATASETS[name].augmentation
    if crop is None:
        return own
    one_of("crop", crop, Crop)
    return replace(OBJECTS, flip=own.flip) if crop == "random_area" else replace(own, crop=crop)

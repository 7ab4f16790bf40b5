"""From a registered data set's folder to a ``DataSet``: classes, transforms, cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from cl_prompts.checks import one_of
from cl_prompts.datasets.batched_views import BatchedTransform
from cl_prompts.datasets.catalog import DATASETS, OBJECTS
from cl_prompts.datasets.classes import check_classes, choose_classes, relabel
from cl_prompts.datasets.dataset import DataSet, ImageSet
from cl_prompts.datasets.entry import DataSetEntry, read_entry
from cl_prompts.datasets.transforms import Augmentation, ImageTransform
from cl_prompts.datasets.views import KeyedTransform
from cl_prompts.errors import InputError

AugmentOn = Literal["loader", "device"]
Crop = Literal["published", "whole", "random_area"]


def load_entry(
    name: str,
    entry: DataSetEntry,
    options: Mapping[str, Any],
    *,
    root: str | Path | None,
    image_size: int,
    classes: int | Sequence[int | str] | None,
    class_order: Sequence[int] | int | None,
    augment: bool,
    augment_on: AugmentOn,
    download: bool,
    seed: int,
    cache: bool,
    cache_gb: float,
    crop: Crop | None,
) -> DataSet:
    """A registered data set, its classes chosen; no image is decoded.

    Args:
        name, entry: key and value in the registry.
        options: keyword arguments of ``entry.read``.
        root, image_size, classes, class_order, augment, augment_on, download, seed, cache,
            cache_gb, crop: see :func:`~cl_prompts.datasets.registry.load_dataset`.

    Raises:
        InputError: as ``load_dataset`` says.
    """
    what = f"data set {name!r}"
    augmentation = _augmentation(what, entry, crop)
    kept_side = augmentation.shorter_side(image_size) if cache else None
    source = read_entry(name, entry, root, download=download, cache=kept_side, **options)
    chosen = choose_classes(what, source.classes, classes, class_order)
    fixed = augmentation.test(image_size)
    one_of("augment_on", augment_on, AugmentOn)
    batched = augment and augment_on == "device"
    kind = BatchedTransform if batched else KeyedTransform
    fresh = kind(augmentation, image_size, seed=int(seed)) if augment else fixed
    parts = []
    for images, targets, ignored, transform in (
        (source.train, source.train_targets, source.train_ignored, fresh),
        (source.test, source.test_targets, source.test_ignored, fixed),
    ):
        rows, labels = relabel(targets, chosen, len(source.classes))
        left_out = None if ignored is None else ignored[:, chosen]
        parts.append(ImageSet(images, labels, transform, rows, left_out, fixed))
    names = tuple(source.classes[row] for row in chosen)
    check_classes(what, parts[0].targets, parts[1].targets, names)
    if batched and not augmentation.square_crop:
        _check_sizes(what, parts[0])
    if cache:
        _check_memory(what, parts, cache_gb)
    return DataSet(name, parts[0], parts[1], names, entry.mean, entry.std, unread=source.unread)


def fixed_transform(name: str, image_size: int, crop: Crop | None = None) -> ImageTransform:
    """What the test images of a registered data set go through: uint8 (3, height, width) in,
    float32 (3, image_size, image_size) in [0, 1], RGB out.

    Args:
        name: key in the registry.
        image_size, crop: see :func:`~cl_prompts.datasets.registry.load_dataset`.

    Raises:
        InputError: unknown name or crop.

    >>> import torch
    >>> fixed_transform("folder", 32)(torch.zeros(3, 40, 60, dtype=torch.uint8)).shape
    torch.Size([3, 32, 32])
    """
    one_of("data set", name, DATASETS)
    return _augmentation(f"data set {name!r}", DATASETS[name], crop).test(image_size)


def _augmentation(what: str, entry: DataSetEntry, crop: Crop | None) -> Augmentation:
    own = entry.augmentation
    if crop is None:
        return own
    one_of("crop", crop, Crop)
    if crop == "published":
        return own
    if crop == "random_area":
        return replace(OBJECTS, flip=own.flip)
    if not own.cuts:
        having = [name for name, other in DATASETS.items() if other.augmentation.cuts]
        raise InputError(
            f"images of {what} are not cut to a square: leave out crop=whole, it is for"
            f" {', '.join(having)}"
        )
    return own.whole()


def _check_sizes(what: str, images: ImageSet) -> None:
    """Refuse images that cannot be augmented together."""
    differing = images.differing()
    if differing is not None:
        raise InputError(
            f"augment_on=device is for images of one size, and {' and '.join(differing)} of {what}"
            " differ: leave it out"
        )


def _check_memory(what: str, parts: Sequence[ImageSet], limit: float) -> None:
    needed = sum(part.bytes_kept() for part in parts) / 1e9
    if needed > limit:
        raise InputError(
            f"cache would keep about {needed:.1f} GB of {what} in memory, more than"
            f" cache_gb={limit:g}: raise cache_gb if there is that much memory, choose a smaller"
            " image_size, or leave out cache"
        )

"""A checked data set: training and test images in [0, 1], one label per image or several."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext
from copy import copy
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.checks import failed
from cl_prompts.datasets.classes import (
    check_classes,
    domain_names,
    domains_of,
    ignored_of,
    labels_of,
)
from cl_prompts.datasets.collate import entries_of
from cl_prompts.datasets.fingerprint import (
    files_fingerprint,
    labels_fingerprint,
    sampled_fingerprint,
    tensor_fingerprint,
)
from cl_prompts.datasets.folders import describe
from cl_prompts.datasets.images import FileImages, Images
from cl_prompts.datasets.transforms import ImageTransform, PrivateRandom, current_key, viewing
from cl_prompts.errors import InputError, RunError

Statistics = tuple[float, float, float]
IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)


class ImageSet(Dataset):
    """Images and labels, map-style: ``[i] -> (RGB image (3, size, size) in [0, 1], label)``.

    The label is an int, or in a multi-label set a float32 tensor (C,) of zeros and ones.

    >>> data = ImageSet(torch.rand(3, 3, 8, 8), np.array([0, 1, 1]), None)
    >>> image, label = data[2]
    >>> image.shape, label
    (torch.Size([3, 8, 8]), 1)

    Args:
        images: where the images come from.
        targets: labels of the chosen rows, (n,) int64, or zeros and ones (n, C) uint8 in a
            multi-label set.
        transform: applied to each image; None leaves it as it is.
        rows: rows of ``images`` that belong to the set, in its order; None for all.
        ignored: pairs of image and class that average precision leaves out, (n, C) bool; None where
            there are none.
        fixed: transform without augmentation, for :meth:`plain`; None where there is no other.
        domains: name or number of the domain that each image comes from, (n,); None where there are
            no domains.
    """

    def __init__(
        self,
        images: Images,
        targets: np.ndarray,
        transform: ImageTransform | None,
        rows: np.ndarray | None = None,
        ignored: np.ndarray | None = None,
        fixed: ImageTransform | None = None,
        domains: np.ndarray | None = None,
    ) -> None:
        self.targets = targets
        self.domains = domains
        self.ignored = ignored
        self.fixed = fixed
        self.images = images
        self.transform = transform
        self.rows = np.arange(len(images)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        label = self.targets[index]
        image = self.images[int(self.rows[index])]
        if self.transform is not None:
            # The row enters the key, so that images of one batch get views of their own.
            key = current_key()
            row = range(len(self))[index]  # negative ones too
            with nullcontext() if key is None else viewing(row, *key):
                image = self.transform(image)
        if self.multi_label:
            return image, torch.from_numpy(label.astype(np.float32))
        return image, int(label)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.targets.ndim == 2

    @property
    def is_plain(self) -> bool:
        """Whether every read of an image is known to give the same pixels; of images that a user's
        code makes or changes it is not."""
        changed = type(self).__getitem__ is not ImageSet.__getitem__
        if changed or not isinstance(self.images, FileImages | Tensor):
            return False
        return self.transform is None or self.transform is self.fixed

    @property
    def files(self) -> tuple[str, ...]:
        """The file of each image; empty where images come from elsewhere."""
        if not isinstance(self.images, FileImages):
            return ()
        return tuple(self.images.paths[row] for row in self.rows.tolist())

    def without(self, paths: Collection[str]) -> ImageSet:
        """The same without the images in these files; the augmentation stays shared."""
        # A shallow copy: images and transform stay the same objects, rows and labels are new.
        kept = np.array([file not in paths for file in self.files], dtype=bool)
        if kept.all():
            return self
        other = copy(self)
        other.targets = self.targets[kept]
        other.ignored = None if self.ignored is None else self.ignored[kept]
        other.domains = None if self.domains is None else self.domains[kept]
        # Rows of the images stay what they were, and with them what is cached by row.
        other.rows = self.rows[kept]
        return other

    def plain(self) -> ImageSet:
        """The same images without augmentation, as test images are seen; itself where no other
        transform is known."""
        if self.fixed is None:
            return self
        other = copy(self)
        other.transform = self.fixed
        return other

    def fingerprint(self) -> dict[str, Any]:
        """Identity of images and labels; see :meth:`DataSet.fingerprint`."""
        # Files and pixels in memory are hashed; of what a user's code makes, some are drawn.
        if self.files:
            about = files_fingerprint(self.files)
        elif isinstance(self.images, Tensor):
            about = tensor_fingerprint(self.images, self.rows)
        else:
            about = sampled_fingerprint(self.images, self.rows)
        labels = labels_fingerprint(self.targets, self.ignored, self.domains)
        return {"images": len(self), "labels": labels, **about}

    def state_dict(self) -> dict[str, int]:
        """State of the augmentation's random numbers; empty where there are none."""
        return self.transform.state_dict() if isinstance(self.transform, PrivateRandom) else {}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue the augmentation where ``state_dict`` was taken."""
        if isinstance(self.transform, PrivateRandom):
            self.transform.load_state_dict(state)


@dataclass(frozen=True)
class DataSet:
    """Training and test images of one data set.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> part = ImageSet(images, np.array([0, 1]), None)
    >>> print(DataSet("pets", part, part, ("cat", "dog")))
    pets: 2 classes, 2 training and 2 test images

    Args:
        name: key in the registry, or what its maker calls it.
        train, test: the images with their labels.
        classes: ``classes[k]`` is the name of label k.
        mean, std: statistics of its pixels in [0, 1], per channel.
        skipped: image files that were left out because they cannot be read.
        unread: how many files of each suffix lie among the images and are none.
    """

    name: str
    train: ImageSet = field(repr=False)
    test: ImageSet = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD
    skipped: tuple[str, ...] = field(default=(), repr=False)
    unread: Counter[str] = field(default_factory=Counter, repr=False, compare=False)

    @property
    def files(self) -> tuple[str, ...]:
        """Image files, training images first; empty for images in memory."""
        return (*self.train.files, *self.test.files)

    def __str__(self) -> str:
        kind = " (multi-label)" if self.multi_label else ""
        size = f"{len(self.train)} training and {len(self.test)} test images"
        skipped = f"; {len(self.skipped)} unreadable images left out" if self.skipped else ""
        unread = f"; no image files: {describe(self.unread)}" if self.unread else ""
        domains = f", {len(self.domains)} domains" if self.domains else ""
        return f"{self.name}: {len(self.classes)} classes{kind}{domains}, {size}{skipped}{unread}"

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.train.multi_label

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the domains that training images come from, sorted; empty without any."""
        return domain_names(self.train.domains)

    def fingerprint(self) -> dict[str, Any]:
        """Identity of this data, as plain values for a JSON file.

        ``classes`` (SHA-256 of their names in order) and for ``training`` and ``test`` each the
        number of ``images``, SHA-256 of ``labels`` and of ``files``, their names within their
        common folder and their sizes. ``contents`` is the SHA-256 of all files
        (or of pixels in memory) up to 256 MiB a part; beyond, and for images that a user's own
        data set makes, of 32 at evenly spaced places (see
        :func:`~cl_prompts.datasets.fingerprint.sampled_fingerprint`).

        Raises:
            InputError: names an image file that cannot be read, or the place where a user's own
                data set failed.
        """
        # Joined by a byte that no name holds: ab, c is not a, bc.
        names = hashlib.sha256("\0".join(self.classes).encode()).hexdigest()
        found: dict[str, Any] = {"name": self.name, "classes": names}
        for part, images in (("training", self.train), ("test", self.test)):
            try:
                found[part] = images.fingerprint()
            except (InputError, RunError):
                raise
            except Exception as error:  # a user's data set may fail in any way
                raise failed("data set", self.name, error) from error
        return found

    def without(self, paths: Collection[str]) -> DataSet:
        """The same without the images in these files, which ``skipped`` then lists.

        Raises:
            InputError: a class that is left without training or test images.
        """
        left_out = frozenset(paths)
        skipped = (*self.skipped, *(file for file in self.files if file in left_out))
        train, test = (part.without(left_out) for part in (self.train, self.test))
        data = replace(self, train=train, test=test, skipped=skipped)
        what = f"data set {self.name!r}"
        check_classes(what, data.train.targets, data.test.targets, self.classes)
        return data


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
        train, test: ``len``, ``[i] -> (float32 RGB image (3, size, size) in [0, 1], ...)`` and
            ``.targets``: one integer 0..C-1 per image, or, for a multi-label set, a row of C zeros
            and ones per image. A multi-label
            set may have ``.ignored`` too, (n, C) bool: pairs of image and class that average
            precision leaves out. ``.domains``, where both have it, is the name or number of the
            domain of each image, (n,). Their transforms stay theirs; see ``PrivateRandom`` for
            augmentation that can be repeated. An ``ImageSet`` is taken as it is.
        classes: names of the C classes; None for "0", "1", ...
        name: what to call the data set.
        mean, std: statistics of its pixels, per channel.

    Raises:
        InputError: no usable labels, or a class without training or test images.
    """
    what = f"data set {name!r}"
    parts = []
    for part, data in (("training", train), ("test", test)):
        labels = labels_of(f"the {part} labels of {what}", data)
        ignored = ignored_of(f".ignored of the {part} images of {what}", data, labels)
        domains = domains_of(f".domains of the {part} images of {what}", data)
        own = isinstance(data, ImageSet)
        images = _ImagesOf(name, data)
        made = ImageSet(images, labels, None, ignored=ignored, domains=domains)
        parts.append(data if own else made)
    names = None if classes is None else tuple(str(label) for label in classes)
    n_classes = check_classes(what, parts[0].targets, parts[1].targets, names)
    names = names or tuple(str(label) for label in range(n_classes))
    return DataSet(name, parts[0], parts[1], names, mean, std)


class _ImagesOf:
    """The images of a map-style data set whose items open with the image."""

    def __init__(self, name: str, data: Any) -> None:
        self.name = name
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Tensor:
        try:
            return entries_of(self.data[row])[0]
        except (InputError, RunError):
            raise
        except Exception as error:  # a user's data set may fail in any way
            raise failed("data set", self.name, error) from error

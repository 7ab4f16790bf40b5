"""Data sets: training and test images in [0, 1] with checked labels."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.datasets import fingerprint
from cl_prompts.datasets.classes import (
    Items,
    check_classes,
    domain_names,
    domains_of,
    ignored_of,
    labels_in,
    labels_of,
)
from cl_prompts.datasets.collate import current_key, entries_of, viewing
from cl_prompts.datasets.decoding import FileImages, Images
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import Fingerprint, Hashed, file_hash, pixels_hash
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.seeds import seeded

Statistics = tuple[float, float, float]
IMAGENET_MEAN: Statistics = (0.485, 0.456, 0.406)
IMAGENET_STD: Statistics = (0.229, 0.224, 0.225)


@dataclass(eq=False, repr=False)
class ImageSet(Dataset):
    """A map-style data set ``[i] -> (RGB image (3, size, size) in [0, 1], label)``.

    The label is an int, or in a multi-label set a float32 tensor (C,) of zeros and ones.

    >>> data = ImageSet(torch.rand(3, 3, 8, 8), np.array([0, 1, 1]), None)
    >>> image, label = data[2]
    >>> image.shape, label
    (torch.Size([3, 8, 8]), 1)

    Args:
        images: source of the images.
        targets: labels of the chosen rows, (n,) int64, or zeros and ones (n, C) uint8 in a
            multi-label set.
        transform: applied to each image, or None.
        rows: chosen rows of ``images``, in order; None for all.
        ignored: pairs of image and class that average precision ignores, (n, C) bool, or None.
        fixed: transform without augmentation, for :meth:`plain`, or None.
        domains: name or number of each image's domain, (n,), or None.
        published: whether its authors chose training and test images, and any copies among them.
        classes, groups: name and group of each class; empty where they are not known.
        true: the right labels, where ``targets`` has label noise, or None.
    """

    images: Images
    targets: np.ndarray
    transform: ImageTransform | None = None
    rows: np.ndarray = None  # type: ignore[assignment]
    ignored: np.ndarray | None = None
    fixed: ImageTransform | None = None
    domains: np.ndarray | None = None
    published: bool = False
    classes: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    true: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.rows is None:
            self.rows = np.arange(len(self.images))

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int | Tensor]:
        label = self.targets[index]
        image = self.images[int(self.rows[index])]
        transform = self.transform
        if current_key() == () and self.fixed is not None:
            transform = self.fixed
        if transform is not None:
            # With the row in the key, images of one batch get different random numbers.
            key = current_key()
            row = range(len(self))[index]  # allows negative indices
            with nullcontext() if key is None else viewing(row, *key):
                image = transform(image)
        if self.multi_label:
            return image, torch.from_numpy(label.astype(np.float32))
        return image, int(label)

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.targets.ndim == 2

    @property
    def truth(self) -> np.ndarray:
        """Labels without noise."""
        return self.targets if self.true is None else self.true

    @property
    def is_plain(self) -> bool:
        """Whether each read of an image gives the same pixels (unknown for users' own images)."""
        changed = type(self).__getitem__ is not ImageSet.__getitem__
        if changed or not isinstance(self.images, FileImages | Tensor):
            return False
        return self.transform is None or self.transform is self.fixed

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """File of each image; empty for images from other sources."""
        if not isinstance(self.images, FileImages):
            return ()
        return tuple(self.images.paths[row] for row in self.rows.tolist())

    def without(self, paths: Collection[ImageFile]) -> ImageSet:
        """Return the set without the images in these files, sharing images and transform."""
        if not self.files:
            return self
        return self.at(np.flatnonzero([file not in paths for file in self.files]))

    def at(self, rows: np.ndarray) -> ImageSet:
        """Return the set of the images in these rows, sharing images and transform."""
        # Rows keep their numbers, so that caches by row remain valid.
        return replace(
            self,
            targets=self.targets[rows],
            rows=self.rows[rows],
            ignored=None if self.ignored is None else self.ignored[rows],
            domains=None if self.domains is None else self.domains[rows],
            true=None if self.true is None else self.true[rows],
        )

    def divided(self, in_test: np.ndarray) -> tuple[ImageSet, ImageSet]:
        """Divide the images by a mask of test images, (n,) bool."""
        return self.at(np.flatnonzero(~in_test)), self.at(np.flatnonzero(in_test))

    def plain(self) -> ImageSet:
        """Return the set without augmentation, or itself if no such transform is known."""
        return self if self.fixed is None else replace(self, transform=self.fixed)

    def fingerprint(self, hashed: Hashed | None = None) -> Fingerprint:
        """Identify images and labels; see :meth:`DataSet.fingerprint`.

        Args:
            hashed: receives the files that are hashed by content, unless they are published.
        """
        files = self.files
        listed, size = fingerprint.listing(files) if files else (None, math.inf)
        if isinstance(self.images, Tensor):
            size = len(self) * self.images[0].nbytes if len(self) else 0
        small = size <= fingerprint.SMALL
        rows = range(len(self)) if small else fingerprint.sampled_places(len(self))
        # With one seed and key, random images of a user's data set are the same each time.
        with seeded(0), viewing(0):
            contents = [self.content(row) for row in rows]
        if hashed is not None and files and not self.published:
            hashed.update(zip([files[row] for row in rows], contents, strict=True))
        return {
            "images": len(self),
            "labels": fingerprint.labels_fingerprint(self.truth, self.ignored, self.domains),
            "files": listed,
            "contents": hashlib.sha256("".join(contents).encode()).hexdigest(),
        }

    def content(self, row: int) -> str:
        """SHA-256 of an image: of its file, or of its size and pixels where it has none."""
        place = int(self.rows[row])
        if isinstance(self.images, FileImages):
            return file_hash(self.images.paths[place])
        return pixels_hash(torch.as_tensor(self.images[place]))


@dataclass(frozen=True)
class DataSet:
    """Training and test images of one data set.

    >>> images = torch.rand(2, 3, 8, 8)
    >>> part = ImageSet(images, np.array([0, 1]), None)
    >>> print(DataSet("pets", part, part, ("cat", "dog")))
    pets: 2 classes, 2 training and 2 test images

    Args:
        name: key in the registry, or a name of your own.
        train, test: the images with their labels.
        classes: ``classes[k]`` is the name of label k.
        mean, std: statistics of its pixels in [0, 1], per channel.
        skipped: unreadable image files that were removed.
    """

    name: str
    train: ImageSet = field(repr=False)
    test: ImageSet = field(repr=False)
    classes: tuple[str, ...] = field(repr=False)
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD
    skipped: tuple[ImageFile, ...] = field(default=(), repr=False)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """Image files, training images first; empty for images in memory."""
        return (*self.train.files, *self.test.files)

    def __str__(self) -> str:
        kind = " (multi-label)" if self.multi_label else ""
        size = f"{len(self.train)} training and {len(self.test)} test images"
        skipped = f"; {len(self.skipped)} unreadable images left out" if self.skipped else ""
        domains = f", {len(self.domains)} domains" if self.domains else ""
        return f"{self.name}: {len(self.classes)} classes{kind}{domains}, {size}{skipped}"

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels, or none."""
        return self.train.multi_label

    @property
    def domains(self) -> tuple[str, ...]:
        """Domains of the training images, sorted; empty without domains."""
        return domain_names(self.train.domains)

    def fingerprint(self) -> dict[str, object]:
        """Identify this data by hashes, as JSON values.

        ``classes`` is the SHA-256 of the class names in order. ``training`` and ``test`` each have
        the number of ``images``, the SHA-256 of ``labels`` and of ``files`` (their names within
        their common folder, and their sizes), and of ``contents``: all files, or pixels in memory,
        up to 256 MiB per part. Above that, and for a user's own data set, 32 evenly spaced images
        are hashed.

        Raises:
            InputError: names an unreadable image file, a test image that is a copy of a training
                image, among the user's own files of which all contents are hashed, or the place
                where a user's own data set failed.
        """
        # Names cannot contain the separator.
        names = hashlib.sha256("\0".join(self.classes).encode()).hexdigest()
        found: dict[str, object] = {"name": self.name, "classes": names}
        hashed: tuple[Hashed, Hashed] = {}, {}
        found["training"] = self.train.fingerprint(hashed[0])
        found["test"] = self.test.fingerprint(hashed[1])
        fingerprint.check_apart(f"data set {self.name!r}", *hashed)
        return found

    def without(self, paths: Collection[ImageFile]) -> DataSet:
        """Return the data set without the images in these files, which ``skipped`` then lists.

        Raises:
            InputError: a class without training or test images.
        """
        left_out = frozenset(paths)
        skipped = (*self.skipped, *(file for file in self.files if file in left_out))
        train, test = (part.without(left_out) for part in (self.train, self.test))
        data = replace(self, train=train, test=test, skipped=skipped)
        # Classes of an earlier data set may lack images in one part of this one.
        whole = np.intersect1d(labels_in(self.train.targets), labels_in(self.test.targets))
        known = [name for label, name in enumerate(self.classes) if label not in whole]
        what = f"data set {self.name!r}"
        check_classes(what, data.train.targets, data.test.targets, self.classes, known)
        return data


def as_dataset(
    train: Items,
    test: Items,
    classes: Sequence[str] | None = None,
    *,
    name: str = "custom",
    mean: Statistics = IMAGENET_MEAN,
    std: Statistics = IMAGENET_STD,
) -> DataSet:
    """Make a ``DataSet`` of two map-style data sets with ``.targets``; no image is read.

    Args:
        train, test: ``len``, ``[i] -> (float32 RGB image (3, size, size) in [0, 1], ...)`` and
            ``.targets``: one integer 0..C-1 per image, or a row of C zeros and ones per image
            (multi-label). A multi-label set may have ``.ignored``, (n, C) bool: pairs of image and
            class that average precision ignores. Both may have ``.domains``, (n,): the name or
            number of each image's domain, and ``.groups``, (C,): the group of each class. They
            apply their own transforms; see ``PrivateRandom`` for reproducible augmentation. An
            ``ImageSet`` is used unchanged.
        classes: names of the C classes; None for "0", "1", ...
        name: of the data set.
        mean, std: statistics of its pixels, per channel.

    Raises:
        InputError: invalid labels, or a class without training or test images.
    """
    what = f"data set {name!r}"
    parts = [image_set(train, "training", what), image_set(test, "test", what)]
    targets = parts[0].targets
    n_classes = targets.shape[1] if targets.ndim == 2 else len(np.unique(targets))
    names = tuple(map(str, range(n_classes) if classes is None else classes))
    check_classes(what, targets, parts[1].targets, names)
    return DataSet(name, parts[0], parts[1], names, mean, std)


def image_set(data: Items, part: str = "training", what: str = "this data set") -> ImageSet:
    """Return a map-style data set, see :func:`as_dataset`, as an ``ImageSet``.

    Raises:
        InputError: invalid labels or domains.
    """
    labels = labels_of(f"the {part} labels of {what}", data)
    domains = domains_of(f".domains of the {part} images of {what}", data)
    if isinstance(data, ImageSet):
        return data
    ignored, groups = ignored_of(data), tuple(getattr(data, "groups", ()))
    return ImageSet(ImagesOf(data), labels, ignored=ignored, domains=domains, groups=groups)


class ImagesOf:
    """The images of a map-style data set whose items start with the image.

    >>> ImagesOf([("image 0", 3)])[0]  # type: ignore[arg-type]
    'image 0'
    """

    def __init__(self, data: Items) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, row: int) -> Tensor:
        return entries_of(self.data[row])[0]

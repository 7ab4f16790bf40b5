"""Two data sets in sequence, with classes matched by name."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch.utils.data import ConcatDataset

from cl_prompts.datasets.classes import check_names
from cl_prompts.datasets.dataset import DataSet, ImageSet, ImagesOf
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import Hashed, check_files, labels_fingerprint
from cl_prompts.errors import InputError


class CombinedSet(ImageSet):
    """The images of two other sets in sequence, with labels of its own.

    Each image is read by its own set, under its number there.

    Args:
        parts: the other sets.
        targets, ignored, domains, true: of all images, see :class:`ImageSet`.

    Example:
        >>> import torch
        >>> one = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        >>> two = ImageSet(torch.ones(1, 3, 8, 8), np.array([0]), None)
        >>> both = CombinedSet([one, two], np.array([0, 1, 2]))
        >>> [(float(image.mean()), label) for image, label in both]
        [(0.0, 0), (0.0, 1), (1.0, 2)]
    """

    def __init__(
        self,
        parts: Sequence[ImageSet],
        targets: np.ndarray,
        ignored: np.ndarray | None = None,
        domains: np.ndarray | None = None,
        true: np.ndarray | None = None,
    ) -> None:
        images = ImagesOf(ConcatDataset(parts))
        super().__init__(images, targets, None, ignored=ignored, domains=domains, true=true)
        self.parts = tuple(parts)

    @property
    def is_plain(self) -> bool:
        """Whether each read of an image gives the same pixels."""
        return all(part.is_plain for part in self.parts)

    @property
    def files(self) -> tuple[ImageFile, ...]:
        """File of each image; empty unless all images come from files."""
        found = [file for part in self.parts for file in part.files]
        return tuple(found) if len(found) == len(self) else ()

    def plain(self) -> ImageSet:
        """Return the set without augmentation."""
        parts = [part.plain() for part in self.parts]
        return CombinedSet(parts, self.targets, self.ignored, self.domains, self.true)

    def fingerprint(self, hashed: Hashed | None = None) -> dict[str, Any]:
        """Identify images and labels."""
        labels = labels_fingerprint(self.truth, self.ignored, self.domains)
        found: dict[str, object] = {"images": len(self), "labels": labels, "files": None}
        parts = [part.fingerprint(hashed) for part in self.parts]
        for key in ("files", "contents"):
            values = json.dumps([part[key] for part in parts])
            found[key] = hashlib.sha256(values.encode()).hexdigest()
        return found

    def content(self, row: int) -> str:
        """SHA-256 of an image."""
        first, second = self.parts
        n = len(first)
        return first.content(row) if row < n else second.content(row - n)


@dataclass(frozen=True)
class JoinedDataSet(DataSet):
    """Two data sets in sequence; see :func:`joined`.

    Example:
        >>> import torch
        >>> def pets(*classes: str) -> DataSet:
        ...     images = ImageSet(torch.zeros(2, 3, 8, 8), np.array([0, 1]), None)
        ...     return DataSet("pets", images, images, classes)
        >>> both = joined(pets("cat", "dog"), pets("dog", "emu"))
        >>> both.classes, both.new_classes
        (('cat', 'dog', 'emu'), ('emu',))

    Attributes:
        before: the first data set, whose classes keep their labels.
        later: the second data set.
        columns: new label of each class of ``later``.
    """

    before: DataSet = field(default=None, repr=False)  # type: ignore[assignment]
    later: DataSet = field(default=None, repr=False)  # type: ignore[assignment]
    columns: tuple[int, ...] = field(default=(), repr=False)

    @property
    def new_classes(self) -> tuple[str, ...]:
        """Classes that only ``later`` has."""
        return self.classes[len(self.before.classes) :]


def joined(before: DataSet, later: DataSet) -> JoinedDataSet:
    """Join two data sets, with classes of one name as one class.

    Args:
        before: the first one, whose classes keep their numbers.
        later: the other one.

    Raises:
        InputError: one has several classes per image and the other has not, a new class or
            domain is called as a known one but for case, blanks or Unicode form, or a file comes
            twice.
    """
    if before.multi_label != later.multi_label:
        has = {True: "several classes per image", False: "one class per image"}
        raise InputError(
            f"data set {before.name!r} has {has[before.multi_label]} and {later.name!r} has"
            f" {has[later.multi_label]}: use the same kind"
        )
    further = [name for name in later.classes if name not in before.classes]
    classes = (*before.classes, *further)
    both = f"data sets {before.name!r} and {later.name!r}"
    check_names(both, classes)
    check_names(both, sorted({*before.domains, *later.domains}), "domain")
    # Known classes keep their labels; new ones follow in the order of the later data set.
    columns = [classes.index(name) for name in later.classes]
    pairs = ((before.train, later.train), (before.test, later.test))
    train, test = (_in_sequence(*pair, columns, len(classes)) for pair in pairs)
    check_files(both, *([*old.files, *new.files] for old, new in pairs))
    return JoinedDataSet(
        name=later.name,
        train=train,
        test=test,
        classes=classes,
        mean=before.mean,
        std=before.std,
        skipped=before.skipped + later.skipped,
        before=before,
        later=later,
        columns=tuple(columns),
    )


def _in_sequence(
    first: ImageSet, second: ImageSet, columns: list[int], n_classes: int
) -> CombinedSet:
    """Join two sets; ``columns`` are the new labels of the second one's classes."""
    parts = (first, second)

    def wide(labels: np.ndarray, own: Sequence[int]) -> np.ndarray:
        # Classes of the other part are 0.
        found = np.zeros((len(labels), n_classes), dtype=labels.dtype)
        found[:, own] = labels
        return found

    def both(labels: Sequence[np.ndarray]) -> np.ndarray:
        if labels[0].ndim == 1:
            return np.concatenate([labels[0], np.asarray(columns)[labels[1]]])
        of_each = zip(labels, [range(labels[0].shape[1]), columns], strict=True)
        return np.concatenate([wide(own, new) for own, new in of_each])

    known = [part.domains for part in parts if part.domains is not None]
    domains = np.concatenate(known) if len(known) == len(parts) else None
    pairs = [np.zeros_like(p.targets, bool) if p.ignored is None else p.ignored for p in parts]
    ignored = both(pairs) if any(pair.any() for pair in pairs) else None
    noisy = any(part.true is not None for part in parts)
    true = both([part.truth for part in parts]) if noisy else None
    return CombinedSet(parts, both([part.targets for part in parts]), ignored, domains, true)

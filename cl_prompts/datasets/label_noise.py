"""Label noise: wrong labels of training images, made by rule or given in a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cl_prompts.checks import Share, Size, fits, one_of, shown
from cl_prompts.datasets.classes import (
    Items,
    choose_classes,
    domains_of,
    ignored_of,
    label_matrix,
    labels_in,
    labels_of,
)
from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.dataset import DataSet, ImageSet, ImagesOf
from cl_prompts.errors import InputError

#: kinds for one label per image, and for several
_KINDS = (("symmetric", "similar", "pairs"), ("missing", "extra"))
_GIVEN = "given"
#: The superclasses of CIFAR-100 (Krizhevsky, 2009). Their classes are not consecutive labels.
CIFAR100_GROUPS = {
    "aquatic_mammals": "beaver dolphin otter seal whale",
    "fish": "aquarium_fish flatfish ray shark trout",
    "flowers": "orchid poppy rose sunflower tulip",
    "food_containers": "bottle bowl can cup plate",
    "fruit_and_vegetables": "apple mushroom orange pear sweet_pepper",
    "household_electrical_devices": "clock keyboard lamp telephone television",
    "household_furniture": "bed chair couch table wardrobe",
    "insects": "bee beetle butterfly caterpillar cockroach",
    "large_carnivores": "bear leopard lion tiger wolf",
    "large_man-made_outdoor_things": "bridge castle house road skyscraper",
    "large_natural_outdoor_scenes": "cloud forest mountain plain sea",
    "large_omnivores_and_herbivores": "camel cattle chimpanzee elephant kangaroo",
    "medium_mammals": "fox porcupine possum raccoon skunk",
    "non-insect_invertebrates": "crab lobster snail spider worm",
    "people": "baby boy girl man woman",
    "reptiles": "crocodile dinosaur lizard snake turtle",
    "small_mammals": "hamster mouse rabbit shrew squirrel",
    "trees": "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "vehicles_1": "bicycle bus motorcycle pickup_truck train",
    "vehicles_2": "lawn_mower rocket streetcar tank tractor",
}


@dataclass(frozen=True)
class LabelNoise:
    """Wrong labels of training images.

    Of each class with n training images, exactly ``round(rate * n)`` get a wrong label. Each class
    has a private generator, and a higher rate keeps the wrong labels of a lower one. Sources:
    Patrini et al., CVPR 2017 (symmetric and class-dependent noise); Bang et al., CVPR 2022 (in
    blurry streams).

    Example:
        >>> class Photos(list):
        ...     targets = [0] * 5 + [1] * 5
        >>> noise = LabelNoise("symmetric", rate=0.2, seed=1)
        >>> noise.apply(Photos(range(10))).targets.tolist()
        [0, 1, 0, 0, 0, 1, 1, 1, 1, 0]

    Args:
        kind: symmetric, similar, pairs, missing, extra or given.
        rate: share of each class's images that get a wrong label; with several labels per image, of
            its positives. "symmetric" draws the label uniformly from the other classes; "similar"
            takes the next class of the same group; "missing" turns positives into zeros, and
            "extra" as many zeros into positives.
        pairs: wrong class of each class that gets wrong labels, by name or label, for "pairs".
        file: labels of all training images, for "given": a CSV file with the header path,label or
            label (in the order of the images), or an array in a .npy file.
        seed: seed of the choice; None: that of the stream.

    Raises:
        InputError: an unknown kind, a rate outside [0, 1], or a missing or unused argument.
    """

    kind: str
    rate: Share | None = None
    pairs: dict[str | int, str | int] | None = None
    file: str | None = None
    seed: Size | None = None

    def __post_init__(self) -> None:
        one_of("kind of label noise", self.kind, (*_KINDS[0], *_KINDS[1], _GIVEN))
        for name, kind in (("rate", Share), ("seed", Size)):
            fits(name, getattr(self, name), kind | None, of="label noise")
        used = {
            "rate": self.kind != _GIVEN,
            "pairs": self.kind == "pairs",
            "file": self.kind == _GIVEN,
        }
        for name, needed in used.items():
            if needed is (getattr(self, name) is None):
                raise InputError(
                    f"{self.kind} label noise needs label_noise.{name}: add it"
                    if needed
                    else f"{self.kind} label noise does not use label_noise.{name}: leave it out"
                )

    def apply(self, train: Items, classes: Sequence[str] = (), seed: int = 1) -> ImageSet:
        """Return the training images with wrong labels; ``.true`` has the right ones.

        Args:
            train: map-style data set with ``.targets``; for "similar" also with ``.groups``.
            classes: names of the classes; empty: ``train.classes``, or else the labels.
            seed: used where the noise has none of its own.

        Raises:
            InputError: labels that the noise does not fit, a damaged file, or a class that would
                lose all training images.
        """
        labels = labels_of("the training labels", train)
        n_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
        names = [*(classes or getattr(train, "classes", ()) or map(str, range(n_classes)))]
        if self.kind not in (*_KINDS[labels.ndim - 1], _GIVEN):
            has = ("one label", "several labels")[labels.ndim - 1]
            fit = " or ".join(_KINDS[labels.ndim - 1])
            raise InputError(
                f"{self.kind} label noise does not fit images with {has} each: use {fit}"
            )
        if not isinstance(train, ImageSet):
            domains = domains_of("train.domains", train)
            groups = tuple(getattr(train, "groups", ()))
            train = ImageSet(
                ImagesOf(train), labels, ignored=ignored_of(train), domains=domains, groups=groups
            )
        if self.kind == _GIVEN:
            given = _given(Path(str(self.file)).expanduser(), train, names)
        else:
            given = self._changed(train, names, seed if self.seed is None else self.seed)
        lost = np.setdiff1d(labels_in(labels), labels_in(given)).tolist()
        if lost:
            raise InputError(
                f"label noise leaves class {names[lost[0]]!r} without training images: lower"
                " label_noise.rate"
            )
        return replace(train, targets=given, true=labels)

    def _changed(self, train: ImageSet, names: Sequence[str], seed: int) -> np.ndarray:
        """Return the labels with those of each class's share changed."""
        labels, given, several = train.targets, train.targets.copy(), train.multi_label
        rate, present = float(self.rate or 0), labels_in(labels)
        if len(present) < 2:
            raise InputError("label noise needs two classes: add images of another one")
        wrong_class = {} if several else self._wrong_classes(train, names)
        for place, label in enumerate(present.tolist()):
            random = np.random.default_rng([seed, label])
            column = labels[:, label] if several else labels == label
            rows = random.permutation(np.flatnonzero(column == (self.kind != "extra")))
            chosen = rows[: round(rate * int(column.sum()))]
            if several:
                given[chosen, label] ^= 1
            elif self.kind == "symmetric":
                # For all images of the class, so that a higher rate keeps these labels.
                steps = random.integers(1, len(present), size=len(rows))[: len(chosen)]
                given[chosen] = present[(place + steps) % len(present)]
            else:
                given[chosen] = wrong_class.get(label, label)
        return given

    def _wrong_classes(self, train: ImageSet, names: Sequence[str]) -> dict[int, int]:
        """Return the wrong class of each class, for "pairs" and "similar"."""
        if self.pairs is not None:
            sides = [[*self.pairs], [*self.pairs.values()]]
            chosen = [[_label(names, name) for name in side] for side in sides]
            return dict(zip(*chosen, strict=True))
        found: dict[int, int] = {}
        for members in _members(train, names) if self.kind == "similar" else ():
            found |= zip(members, [*members[1:], members[0]], strict=True)
        return found

    def says(self, data: DataSet) -> str:
        """Describe the labels of a data set after :meth:`apply`, in a sentence."""
        train = data.train
        wrong, n = np.count_nonzero(train.targets != train.true), train.targets.size
        pairs = "pairs of training image and class" if train.multi_label else "training labels"
        rate = "" if self.rate is None else f" at rate {self.rate:g}"
        alone = 0
        if self.kind == "similar":
            alone = sum(len(own) == 1 for own in _members(train, data.classes))
        kept = f"; {alone} classes are alone in their group and keep their labels" if alone else ""
        return (
            f"{self.kind} label noise{rate}: {wrong} of {n} {pairs} are wrong, and the labels of"
            f" {len(data.test)} test images are not changed{kept}"
        )


def _label(names: Sequence[str], name: str | int) -> int:
    return int(choose_classes("label_noise.pairs", names, [name])[0])


def _members(train: ImageSet, names: Sequence[str]) -> list[list[int]]:
    """Return the classes of each group, in the order of labels."""
    known = {name: group for group, own in CIFAR100_GROUPS.items() for name in own.split()}
    groups = train.groups or [known[name] for name in names if name in known]
    if len(groups) != len(names):
        raise InputError(
            "similar label noise needs groups of classes: use classes of CIFAR-100, a table with a"
            " column group, dataset.groups=true for nested folders, or label_noise=pairs"
        )
    found: dict[str, list[int]] = {}
    for label in labels_in(train.truth).tolist():
        found.setdefault(groups[label], []).append(label)
    return [*found.values()]


def _given(file: Path, train: ImageSet, names: Sequence[str]) -> np.ndarray:
    """Return the labels of a file in the order of the training images."""
    found: Sequence[Sequence[object]] = (
        _array(file) if file.suffix == ".npy" else _table(file, train)
    )
    if len(found) != len(train):
        raise InputError(
            f"{file} has labels of {len(found)} images, and there are {len(train)} training"
            " images: give one row for each"
        )
    # Names come last: a class may be called as the label of another.
    labels = range(len(names))
    known: dict[object, int] = {key: label for label in labels for key in (label, str(label))}
    known |= {name: label for label, name in enumerate(names)}
    for row, own in enumerate(found):
        if not known.keys() >= {*own} or not (train.multi_label or len(own) == 1):
            rule = "class names or labels" if train.multi_label else "one class name or label"
            raise InputError(f"row {row} of {file} has {shown(own)}: give {rule}")
    numbers = [[known[name] for name in own] for own in found]
    if train.multi_label:
        return label_matrix(numbers, labels)
    return np.array(numbers, dtype=train.targets.dtype)[:, 0]


def _array(file: Path) -> list[list[int]]:
    """Return the labels of each row of a .npy file."""
    try:
        found = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{file} is not an array of numbers: np.save the labels alone") from error
    return [np.flatnonzero(row).tolist() if np.ndim(row) else [row.item()] for row in found]


def _table(file: Path, train: ImageSet) -> list[list[str]]:
    """Return the classes of each training image in a CSV file."""
    text = file.read_text("utf-8-sig", "replace").splitlines()
    if text[:1] == ["label"]:
        return [[*filter(None, line.strip().split(";"))] for line in text[1:]]
    rows = {os.path.abspath(file.parent / row.path): row.labels for row in csv_rows(file)}
    paths = [os.path.abspath(str(path)) for path in train.files]
    if len(rows) != len(train):
        return [*rows.values()]
    lacking = next((path for path in paths if path not in rows), None)
    if lacking or not paths:
        raise InputError(f"{file} has no row for training image {lacking}: give one row for each")
    return [rows[path] for path in paths]

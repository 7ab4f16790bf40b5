"""Label noise: wrong labels of training images, made by rule or given in a file."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from cl_prompts.checks import Share, Size, fits, one_of, shown
from cl_prompts.datasets.classes import Items, choose_classes, label_matrix, labels_in
from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.dataset import DataSet, ImageSet, image_set
from cl_prompts.errors import InputError, all_of, first_of

#: kinds for one label per image, and for several; both may have given labels
_KINDS = (("symmetric", "similar", "pairs", "given"), ("missing", "extra", "given"))
#: The superclasses of CIFAR-100 (Krizhevsky, 2009). Their classes are not consecutive labels.
CIFAR100_GROUPS = """\
beaver dolphin otter seal whale; aquarium_fish flatfish ray shark trout; orchid poppy rose sunflower
tulip; bottle bowl can cup plate; apple mushroom orange pear sweet_pepper; clock keyboard lamp
telephone television; bed chair couch table wardrobe; bee beetle butterfly caterpillar cockroach;
bear leopard lion tiger wolf; bridge castle house road skyscraper; cloud forest mountain plain sea;
camel cattle chimpanzee elephant kangaroo; fox porcupine possum raccoon skunk; crab lobster snail
spider worm; baby boy girl man woman; crocodile dinosaur lizard snake turtle; hamster mouse rabbit
shrew squirrel; maple_tree oak_tree palm_tree pine_tree willow_tree; bicycle bus motorcycle
pickup_truck train; lawn_mower rocket streetcar tank tractor"""


@dataclass(frozen=True)
class LabelNoise:
    """Wrong labels of training images.

    Of each class with n training images, exactly ``round(rate * n)`` get a wrong label. A higher
    rate keeps the wrong labels of a lower one. Sources: Patrini et al., CVPR 2017 (arXiv
    1609.03683); in blurry streams, Bang et al., CVPR 2022 (arXiv 2203.15355).

    Example:
        >>> class Photos(list):
        ...     targets = [0] * 5 + [1] * 5
        >>> noise = LabelNoise("symmetric", rate=0.2, seed=1)
        >>> noise.apply(Photos(range(10))).targets.tolist()
        [0, 0, 0, 0, 1, 1, 0, 1, 1, 1]

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
        one_of("kind of label noise", self.kind, {*_KINDS[0], *_KINDS[1]})
        for name, kind in (("rate", Share), ("seed", Size)):
            fits(name, getattr(self, name), kind | None, of="label noise")
        needed = {"given": ("file",), "pairs": ("rate", "pairs")}.get(self.kind, ("rate",))
        for name in ("rate", "pairs", "file"):
            if (name in needed) is (getattr(self, name) is None):
                needs, do = ("needs", "add") if name in needed else ("does not use", "leave out")
                raise InputError(
                    f"{self.kind} label noise {needs} a {name}: {do} label_noise.{name}"
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
        images = image_set(train)
        labels, kinds = images.targets, _KINDS[images.multi_label]
        n_classes = labels.shape[1] if images.multi_label else int(labels.max()) + 1
        names = [*(classes or getattr(train, "classes", ()) or map(str, range(n_classes)))]
        if self.kind not in kinds:
            has = "several labels" if images.multi_label else "one label"
            raise InputError(
                f"{self.kind} label noise does not fit images with {has} each: use"
                f" {all_of(kinds, 'or')}"
            )
        if self.file is not None:
            given = _given(Path(self.file).expanduser(), images, names)
        else:
            given = self._changed(images, names, seed if self.seed is None else self.seed)
        for lost in np.setdiff1d(labels_in(labels), labels_in(given)).tolist():
            raise InputError(
                f"label noise leaves class {names[lost]!r} without training images: lower the rate"
            )
        return replace(images, targets=given, true=labels)

    def _changed(self, train: ImageSet, names: Sequence[str], seed: int) -> np.ndarray:
        """Return the labels with those of each class's share changed."""
        labels, given, several = train.targets, train.targets.copy(), train.multi_label
        rate, present = float(self.rate or 0), labels_in(labels)
        if len(present) < 2:
            raise InputError("label noise needs two classes: add images of another one")
        wrong_class = self._wrong_classes(train, names)
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
        found: dict[int, int] = {}
        for pair in (self.pairs or {}).items():
            right, wrong = (choose_classes("label_noise.pairs", names, [name])[0] for name in pair)
            found[int(right)] = int(wrong)
        for members in _members(train, names) if self.kind == "similar" else ():
            found |= zip(members, [*members[1:], members[0]], strict=True)
        return found

    def says(self, data: DataSet) -> str:
        """Describe the labels of a data set after :meth:`apply`, in a sentence."""
        train = data.train
        wrong, n = np.count_nonzero(train.targets != train.true), train.targets.size
        what = "pairs of training image and class" if train.multi_label else "training labels"
        rate = "" if self.rate is None else f" at rate {self.rate:g}"
        members = _members(train, data.classes) if self.kind == "similar" else []
        alone = sum(len(group) == 1 for group in members)
        return (
            f"{self.kind} label noise{rate}: {wrong} of {n} {what} are wrong, and the labels of"
            f" {len(data.test)} test images are not changed"
            + f"; {alone} classes are alone in their group and keep their labels"
            * bool(alone)
        )


def _members(train: ImageSet, names: Sequence[str]) -> list[list[int]]:
    """Return the classes of each group, in the order of labels."""
    known = {name: own for own in CIFAR100_GROUPS.split(";") for name in own.split()}
    groups = train.groups or [known[name] for name in names if name in known]
    if len(groups) != len(names):
        raise InputError(
            "similar label noise needs groups of classes: use CIFAR-100, a table with a column"
            " group, or nested folders with dataset.groups=true"
        )
    found: dict[str, list[int]] = {}
    for label in labels_in(train.truth).tolist():
        found.setdefault(groups[label], []).append(label)
    return [*found.values()]


def _given(file: Path, train: ImageSet, names: Sequence[str]) -> np.ndarray:
    """Return the labels of a file in the order of the training images."""
    labels = range(len(names))
    known: dict[object, int] = dict(zip(map(str, labels), labels, strict=True))
    if file.suffix == ".npy":
        found = _array(file)
    else:
        found = _table(file, train)
        known |= zip(names, labels, strict=True)  # also a name that is the label of another class
    if len(found) != len(train):
        raise InputError(
            f"{file} has labels of {len(found)} images, and there are {len(train)} training"
            " images: give one row for each"
        )
    for row, own in enumerate(found):
        if not known.keys() >= {*own} or not (train.multi_label or len(own) == 1):
            rule = "class names or labels" if train.multi_label else "one class name or label"
            raise InputError(f"row {row} of {file} has {shown(own)}: give {rule}")
    numbers = [[known[name] for name in own] for own in found]
    if train.multi_label:
        return label_matrix(numbers, labels)
    return np.array(numbers, dtype=train.targets.dtype)[:, 0]


def _array(file: Path) -> list[list[str]]:
    """Return the labels of each row of a .npy file."""
    try:
        found = np.load(file, allow_pickle=False)
    except ValueError as error:
        raise InputError(f"{file} is not an array of numbers: np.save the labels alone") from error
    rows = map(np.flatnonzero, found) if found.ndim == 2 else found.reshape(-1, 1)
    return [[*map(str, row)] for row in rows]


def _table(file: Path, train: ImageSet) -> list[list[str]]:
    """Return the classes of each training image in a CSV file."""
    text = file.read_text("utf-8-sig", "replace").splitlines()
    if text[:1] == ["label"]:
        return [[*filter(None, line.strip().split(";"))] for line in text[1:]]
    rows = {os.path.abspath(file.parent / row.path): row.labels for row in csv_rows(file)}
    paths = [os.path.abspath(str(path)) for path in train.files]
    if not paths:
        raise InputError(f"training images have no paths: give {file} one column, label")
    if len(rows) != len(paths):
        return [*rows.values()]
    if lacking := [path for path in paths if path not in rows]:
        raise InputError(f"{file} has no row for {first_of(lacking, 1)}: add one")
    return [rows[path] for path in paths]

"""Score a trained model on a user's labelled images, without training."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.folders import holds_domains, scan_classes, warn_unread
from cl_prompts.datasets.hub import hub_options, labelled_rows
from cl_prompts.errors import InputError, first_of
from cl_prompts.experiments.results.history import BeforeAfter, with_groups
from cl_prompts.metrics.intervals import wilson
from cl_prompts.metrics.multi_label import average_precision

_RESAMPLES = 200


class NoKnownClass(InputError):
    """Labelled images of which the model knows no class."""


class Score(NamedTuple):
    """Accuracy or average precision of a class, or of all images, with its 95 % interval.

    Example:
        >>> Score("bear", 40, 0.75, 0.6, 0.86).confused
        ''
    """

    name: str
    images: int
    value: float
    low: float
    high: float
    confused: str = ""
    """Wrong answers on images of the class, most frequent first."""


class Assessment(NamedTuple):
    """Scores of a model on labelled images.

    Attributes:
        total: score on all images, or the mean over classes.
        by_class: one score for each class that the images show.
        confusion: (classes, classes) counts of labels by answers; None with several labels.
        unknown: number of images of each class that the model does not know; they are left out.

    Example:
        >>> Assessment(Score("all", 1, 1, 0, 1), []).measure
        'average precision'
    """

    total: Score
    by_class: Sequence[Score]
    confusion: Tensor | None = None
    unknown: Mapping[str, int] = {}

    @property
    def measure(self) -> str:
        """Name of the scores: with several labels per image average precision."""
        return "average precision" if self.confusion is None else "accuracy"


#: parts of a folder that are learned, and those that are evaluated on
TRAINING = ("train.csv", "train")
TEST = ("test.csv", "test", "val")


def labelled_images(
    place: Path, parts: Sequence[str] = TEST
) -> tuple[Sequence[ImageFile], list[list[str]]]:
    """Return image files and the labels of each.

    Args:
        place: a folder of ``<class>/*`` or ``<domain>/<class>/*``, or one that contains one of
            ``parts``; or a table of ``path,label;label``; or a data set of the Hugging Face hub,
            see :func:`~cl_prompts.datasets.hub.hub_options`.
        parts: names of folders and tables that are read alone, if there is one; those of
            ``TRAINING`` also choose the training images of a data set of the hub.

    Raises:
        InputError: there are no such images.
    """
    on_hub = hub_options(place)
    if on_hub:
        if parts is TRAINING:
            on_hub["test_split"] = on_hub.get("train_split", "train")
        return labelled_rows(on_hub)
    for part in parts:
        if (place / part).exists():
            place = place / part
            break
    if place.is_file():
        rows = csv_rows(place)
        return [str(place.parent / row.path) for row in rows], [row.labels for row in rows]
    if not place.is_dir():
        raise InputError(f"there is no folder or table {place}")
    found = scan_classes(place, holds_domains(place))
    warn_unread(place)
    return found.files, [[name] for name in found.targets.tolist()]


def known_images(
    place: Path, classes: Sequence[str], *, multi_label: bool
) -> tuple[list[ImageFile], Tensor, Counter[str]]:
    """Read labelled images of a model's classes, see :func:`labelled_images`.

    Returns:
        Files, their targets (n, classes) of zeros and ones, and the number of images of each other
        class, which are left out.

    Raises:
        InputError: no such images, or an image without exactly one label.
        NoKnownClass: none of a known class.
    """
    files, labels = labelled_images(place)
    if not multi_label and any(len(own) != 1 for own in labels):
        raise InputError(f"{place} has images without exactly one label, as this model needs")
    unknown = Counter(label for own in labels for label in own if label not in classes)
    kept = [i for i, own in enumerate(labels) if not own or any(name in classes for name in own)]
    if not any(labels[i] for i in kept):
        theirs, ours = first_of(unknown, 5), first_of(classes, 5)
        raise NoKnownClass(f"no class of {place} ({theirs}) is a class of the model ({ours})")
    known = [[name for name in labels[i] if name in classes] for i in kept]
    return [files[i] for i in kept], torch.from_numpy(label_matrix(known, classes)), unknown


def assessment(
    scores: Tensor, targets: Tensor, classes: Sequence[str], *, multi_label: bool
) -> Assessment:
    """Score predictions.

    Accuracies have Wilson's interval, average precisions a bootstrap interval over images.

    Args:
        scores: (n, classes) of the images.
        targets: zeros and ones (n, classes).
        classes: names of the columns.
        multi_label: whether an image may have several classes.
    """
    if multi_label:
        return _precisions(scores, targets, classes)
    n = len(classes)
    pairs = targets.argmax(dim=1) * n + scores.argmax(dim=1)
    confusion = pairs.bincount(minlength=n * n).view(n, n)
    by_class = [
        _share(name, int(own[c]), int(own.sum()), confused(own, c, classes))
        for c, (name, own) in enumerate(zip(classes, confusion, strict=True))
        if own.any()
    ]
    total = _share("all images", int(confusion.trace()), len(targets))
    return Assessment(total, by_class, confusion)


def changes(before: Assessment | None, after: Assessment) -> list[BeforeAfter]:
    """Return the rows of a table of scores on the same images, before and after an operation.

    Images of classes that the model did not know count as wrong before.

    Args:
        before: None if the model knew none of the classes.
        after: scores of the changed model.
    """
    known = {} if before is None else {row.name: row.value for row in before.by_class}
    rows = [
        BeforeAfter(row.name, known.get(row.name), row.value, row.images) for row in after.by_class
    ]
    rows.sort(key=lambda row: row.before is None)  # known classes first
    names = {row.name for row in rows}
    left = [row for row in (before.by_class if before else ()) if row.name not in names]
    rows += [BeforeAfter(row.name, row.value, None, row.images) for row in left]
    total = after.total
    first = None
    new = any(row.before is None for row in rows)
    # A mean over other classes cannot be compared.
    if before is not None and not left and (after.confusion is not None or not new):
        first = before.total.value * before.total.images / total.images
    return with_groups(BeforeAfter(total.name, first, total.value, total.images), rows, rows)


def worst_confusions(confusion: Tensor, classes: Sequence[str], most: int = 3) -> list[str]:
    """Return the most frequent confusions, such as "fox as dog (5)".

    >>> worst_confusions(torch.tensor([[2, 5], [0, 1]]), ("fox", "dog"))
    ['fox as dog (5)']
    """
    wrong = confusion - confusion.diagonal().diag()
    values, places = wrong.flatten().sort(descending=True, stable=True)
    pairs = zip(values[:most].tolist(), places[:most].tolist(), strict=True)
    n = len(classes)
    return [f"{classes[p // n]} as {classes[p % n]} ({times})" for times, p in pairs if times]


def _share(name: str, right: int, n: int, confused: str = "") -> Score:
    return Score(name, n, right / n, *wilson(right / n, n), confused)


def confused(answers: Tensor, own: int, classes: Sequence[str]) -> str:
    """Return the wrong answers on images of a class, most frequent first."""
    wrong = [c for c in answers.argsort(descending=True, stable=True).tolist() if c != own]
    return ", ".join(f"{classes[c]} {answers[c]}" for c in wrong if answers[c])


def _precisions(scores: Tensor, targets: Tensor, classes: Sequence[str]) -> Assessment:
    generator = torch.Generator().manual_seed(0)
    n = len(scores)
    draws = [torch.randint(n, (n,), generator=generator) for _ in range(_RESAMPLES)]
    found = torch.stack([average_precision(scores[rows], targets[rows]) for rows in draws])
    own = average_precision(scores, targets)
    quantiles = found.new_tensor([0.025, 0.975])
    low, high = found.nanquantile(quantiles, dim=0).tolist()
    by_class = [
        Score(name, int(targets[:, c].sum()), float(own[c]), low[c], high[c])
        for c, name in enumerate(classes)
        if targets[:, c].any()
    ]
    ends = found.nanmean(dim=1).nanquantile(quantiles).tolist()
    total = Score("mean over classes", n, float(own.nanmean()), *ends)
    return Assessment(total, by_class)

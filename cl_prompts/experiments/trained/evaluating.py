"""Score a trained model on a user's labelled images, without training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.folders import class_folders, holds_domains, scan_images
from cl_prompts.datasets.hub import hub_options, labelled_rows
from cl_prompts.errors import InputError, first_of
from cl_prompts.experiments.results.history import wilson
from cl_prompts.experiments.run_folder.files import csv_text
from cl_prompts.experiments.trained.loading import TrainedRun
from cl_prompts.metrics.multi_label import average_precision

_RESAMPLES = 200
_INTERVAL = (0.025, 0.975)


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
        measure: "accuracy", or with several labels per image "average precision".
        total: score on all images, or the mean over classes.
        by_class: one score for each class that the images show.
        unknown: number of images of each class that the run does not know; they are left out.
        confusion: (classes, classes) counts of labels by answers; None with several labels.

    Example:
        >>> Assessment("accuracy", Score("all", 1, 1, 0, 1), [], {"emu": 3}, None).unknown
        {'emu': 3}
    """

    measure: str
    total: Score
    by_class: Sequence[Score]
    unknown: dict[str, int]
    confusion: Tensor | None

    def confusion_csv(self, classes: Sequence[str]) -> str:
        """The confusion matrix as CSV: one row for each label, one column for each answer."""
        if self.confusion is None:
            raise InputError("images with several labels have no confusion matrix: leave out --out")
        rows = zip(classes, self.confusion.tolist(), strict=True)
        return csv_text([["label", *classes], *([name, *counts] for name, counts in rows)])


def labelled_images(place: Path) -> tuple[Sequence[ImageFile], list[list[str]]]:
    """Return image files and the labels of each.

    Args:
        place: a folder of ``<class>/*`` or ``<domain>/<class>/*``, or one with such a folder
            ``test`` or ``val`` or a table ``test.csv``; or a table of ``path,label;label``; or a
            data set of the Hugging Face hub, see :func:`~cl_prompts.datasets.hub.hub_options`.

    Raises:
        InputError: there are no such images.
    """
    on_hub = hub_options(place)
    if on_hub:
        return labelled_rows(on_hub)
    for part in ("test.csv", "test", "val"):
        if (place / part).exists():
            place = place / part
            break
    if place.is_file():
        rows = csv_rows(place)
        return [str(place.parent / row.path) for row in rows], [row.labels for row in rows]
    if not place.is_dir():
        raise InputError(f"there is no folder or table {place}")
    parents = [place]
    if holds_domains(place):
        parents = [place / domain for domain in class_folders(place)]
    folders = [parent / name for parent in parents for name in class_folders(parent)]
    found = scan_images(folders)
    return found.files, [[folders[position].name] for position in found.labels]


def assess(trained: TrainedRun, place: Path) -> Assessment:
    """Evaluate a trained model on labelled images; classes are matched by name.

    Accuracies have Wilson's interval, average precisions a bootstrap interval over images.

    Args:
        trained: the model, see :func:`~cl_prompts.experiments.trained.loading.load_run`.
        place: of the images, see :func:`labelled_images`.

    Raises:
        InputError: no such images, or none of a class that the run knows.
        RunError: a file that cannot be read.
    """
    files, labels = labelled_images(place)
    classes = trained.classes
    several = trained.run.multi_label
    if not several and any(len(own) != 1 for own in labels):
        raise InputError(f"{place} has images without exactly one label, as this run needs")
    unknown = Counter(label for own in labels for label in own if label not in classes)
    kept = [i for i, own in enumerate(labels) if not own or any(name in classes for name in own)]
    if not any(labels[i] for i in kept):
        theirs, ours = first_of(unknown, 5), first_of(classes, 5)
        raise InputError(f"no class of {place} ({theirs}) is a class of the run ({ours})")
    known = [[name for name in labels[i] if name in classes] for i in kept]
    targets = torch.from_numpy(label_matrix(known, classes))
    scores = trained.predict([files[i] for i in kept]).scores
    if several:
        return _precisions(scores, targets, classes, dict(unknown))
    confusion = torch.zeros(len(classes), len(classes), dtype=torch.int64)
    rows = targets.argmax(dim=1)
    confusion.index_put_((rows, scores.argmax(dim=1)), torch.ones_like(rows), accumulate=True)
    by_class = [
        _share(name, int(own[c]), int(own.sum()), _confused(own, c, classes))
        for c, (name, own) in enumerate(zip(classes, confusion, strict=True))
        if own.any()
    ]
    total = _share("all images", int(confusion.trace()), len(kept))
    return Assessment("accuracy", total, by_class, dict(unknown), confusion)


def _share(name: str, right: int, n: int, confused: str = "") -> Score:
    return Score(name, n, right / n, *wilson(right / n, n), confused)


def _confused(answers: Tensor, own: int, classes: Sequence[str]) -> str:
    wrong = [c for c in answers.argsort(descending=True, stable=True).tolist() if c != own]
    return ", ".join(f"{classes[c]} {answers[c]}" for c in wrong if answers[c])


def _precisions(
    scores: Tensor, targets: Tensor, classes: Sequence[str], unknown: dict[str, int]
) -> Assessment:
    generator = torch.Generator().manual_seed(0)
    n = len(scores)
    draws = [torch.randint(n, (n,), generator=generator) for _ in range(_RESAMPLES)]
    found = torch.stack([average_precision(scores[rows], targets[rows]) for rows in draws])
    own = average_precision(scores, targets)
    quantiles = torch.tensor(_INTERVAL, dtype=found.dtype)
    low, high = found.nanquantile(quantiles, dim=0).tolist()
    by_class = [
        Score(name, int(targets[:, c].sum()), float(own[c]), low[c], high[c])
        for c, name in enumerate(classes)
        if targets[:, c].any()
    ]
    ends = found.nanmean(dim=1).nanquantile(quantiles).tolist()
    total = Score("mean over classes", n, float(own.nanmean()), *ends)
    return Assessment("average precision", total, by_class, unknown, None)

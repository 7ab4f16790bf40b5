"""Predictions for image files, as CSV."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_prompts.datasets.csv_table import csv_rows
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.folders import scan_images, warn_unread
from cl_prompts.datasets.hub import hub_options, labelled_rows
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.files import csv_text
from cl_prompts.models.base import ContinualModel

#: label of images for which the model is not confident
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Predictions:
    """Predictions of a model for some images.

    Attributes:
        classes: names of the columns.
        scores: (images, classes) on the CPU: probabilities, 0 for classes absent from training.
            With one label per image they are calibrated by the model's temperature. A multi-label
            ridge regression gives raw scores.
        labels: name of the predicted class of each image. With several labels per image a tuple of
            names for each, best score first: all above a probability of 0.5 (or the model's own
            threshold), perhaps none. ``unknown`` if that was asked for and the confidence is too
            low.
        calibrated: whether scores can be read as probabilities; otherwise only their order counts.

    Example:
        >>> import torch
        >>> scores = torch.tensor([[0.75, 0.25]])
        >>> Predictions(("cat", "dog"), scores, ("cat",)).best(0, 2)
        [('cat', 0.75), ('dog', 0.25)]
    """

    classes: tuple[str, ...]
    scores: Tensor
    labels: tuple[str, ...] | tuple[tuple[str, ...], ...]
    calibrated: bool = True

    @property
    def label(self) -> str | tuple[str, ...]:
        """Label of the only image.

        Raises:
            InputError: another number of images.
        """
        if len(self.labels) != 1:
            raise InputError(f"there are {len(self.labels)} images: read labels instead of label")
        return self.labels[0]

    def best(self, row: int, most: int = 1) -> list[tuple[str, float]]:
        """The classes with the highest scores of an image, with these."""
        values, places = self.scores[row].topk(min(most, len(self.classes)))
        names = (self.classes[place] for place in places.tolist())
        return list(zip(names, values.tolist(), strict=True))


def threshold_at(rate: float, held_out: Sequence[float]) -> float:
    """Return the confidence below which an image is labelled ``unknown``.

    Of n held-out images and a further one, all of known classes and in random order, the further
    one falls below the k-th smallest confidence with probability ``k / (n + 1)`` (less with ties):
    k is the largest for which that is at most ``rate``, as in split conformal prediction (Vovk et
    al., Algorithmic Learning in a Random World, 2005).

    Args:
        rate: share of images of known classes that may be labelled ``unknown``.
        held_out: confidence in n held-out images of known classes, ascending.

    Raises:
        InputError: a rate out of range, or so small that k would be 0.

    >>> threshold_at(0.25, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0])
    2.0
    """
    if not 0 < rate < 1:
        raise InputError(
            f"unknown is {rate}: it must be the share of known images that may be rejected, between"
            " 0 and 1, such as 0.05"
        )
    n = len(held_out)
    k = math.floor(round(rate * (n + 1), 9))  # 0.29 * 100 is 28.999999999999996
    if k == 0:
        raise InputError(
            f"unknown is {rate:g}, and {n} test images of known classes are too few for less than"
            f" 1 in {n + 1}: give at least {math.ceil(1e4 / (n + 1)) / 1e4:g}"
        )
    return held_out[k - 1]


def scored(
    network: ContinualModel, classes: Sequence[str], logits: Tensor
) -> tuple[Tensor, list[Any]]:
    """Return scores (n, classes) and labels of images, as in :class:`Predictions`.

    Args:
        network: the model.
        classes: names of its columns.
        logits: (n, classes), divided by the temperature.
    """
    if not network.multi_label:
        best = logits.argmax(dim=1).tolist()
        # Logits of unseen classes are -inf, so their probability is 0.
        return logits.softmax(dim=1), [classes[place] for place in best]
    seen = network.seen.cpu()
    # A ridge regression has a threshold for its scores instead of probabilities.
    own = network.score_threshold
    scores = logits.sigmoid() if own is None else logits
    scores = torch.where(seen, scores, 0.0)
    chosen = (scores > (0.5 if own is None else own)) & seen
    rows = []
    for row, values in zip(chosen, scores, strict=True):
        places = [place for place in values.argsort(descending=True).tolist() if row[place]]
        rows.append(tuple(classes[place] for place in places))
    return scores, rows


def image_files(paths: Sequence[Path]) -> list[ImageFile]:
    """Return files as they are, the images below each folder, those of a table, and the test images
    of a data set of the Hugging Face hub.

    Raises:
        InputError: a path that does not exist, or a folder without images.
    """
    found: list[ImageFile] = []
    for path in paths:
        on_hub = hub_options(path)
        if on_hub:
            found += labelled_rows(on_hub, labels=False)[0]
        elif path.suffix == ".csv" and path.is_file():
            found += [str(path.parent / row.path) for row in csv_rows(path)]
        elif (path / "model.json").is_file():
            raise InputError(f"{path} is a model: name it before the images")
        elif path.is_dir():
            found += scan_images([path]).files
            warn_unread(path)
        elif path.is_file():
            found.append(str(path))
        else:
            raise InputError(f"there is no image or folder {path}")
    # A file that was given twice has one row.
    return list(dict.fromkeys(found))


def predictions_csv(
    files: Sequence[ImageFile], predictions: Predictions, *, all_scores: bool = False
) -> str:
    """Write rows of ``path,label,score``, without a line break at the end.

    Several labels of an image, and their scores, are separated by semicolons. ``unknown`` has the
    score of the best class. Scores that are not calibrated become ranks, ``path,label,rank``.
    """
    column = {name: place for place, name in enumerate(predictions.classes)}
    numbers = predictions.scores.double()
    if not predictions.calibrated:
        numbers = numbers.argsort(dim=1, descending=True, stable=True).argsort(dim=1) + 1
    form = "{:.4f}" if predictions.calibrated else "{}"
    kind = "score" if predictions.calibrated else "rank"
    rows: list[list[object]] = [["path", "label", kind, *predictions.classes * all_scores]]
    for file, given, own in zip(files, predictions.labels, numbers, strict=True):
        labels = (given,) if isinstance(given, str) else given
        texts = [form.format(number) for number in own.tolist()]
        best = int(predictions.scores[len(rows) - 1].argmax())
        chosen = [texts[column.get(label, best)] for label in labels]
        rows.append([file, ";".join(labels), ";".join(chosen), *texts * all_scores])
    return csv_text(rows)

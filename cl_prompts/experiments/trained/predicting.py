"""Predictions for files, as a table in CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_prompts.datasets.folders import scan_images
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.files import csv_text, harmless

if TYPE_CHECKING:
    from cl_prompts.experiments.trained.loading import Predictions


def image_files(paths: Sequence[Path]) -> list[str]:
    """Files as they are, and the images below each folder, as
    :func:`~cl_prompts.datasets.folders.scan_images` finds them.

    Raises:
        InputError: a path that does not exist, a folder without images, or that of a run.
    """
    found: list[str] = []
    for path in paths:
        if (path / "config.yaml").is_file():
            raise InputError(f"{path} is another run; predictions are those of one")
        if path.is_dir():
            found += scan_images([path]).paths
        elif path.is_file():
            found.append(str(path))
        else:
            raise InputError(f"there is no image or folder {path}")
    return list(dict.fromkeys(found))


def predictions_csv(
    files: Sequence[str], predictions: Predictions, *, all_scores: bool = False
) -> str:
    """Rows of ``path,label,score``, without a line break at the end; several labels of an image,
    and their scores, are separated by semicolons. Paths and labels that a spreadsheet would run as
    formulas come after an apostrophe.

    Args:
        files: paths of the images.
        predictions: for them.
        all_scores: a column for each class, too.
    """
    rows: list[list[Any]] = [["path", "label", "score"]]
    if all_scores:
        rows[0] += predictions.classes
    column = {name: place for place, name in enumerate(predictions.classes)}
    for row, (file, labels) in enumerate(zip(files, predictions.labels, strict=True)):
        scores = predictions.scores[row].tolist()
        own = ";".join(f"{scores[column[label]]:.4f}" for label in labels)
        line: list[Any] = [file, ";".join(map(harmless, labels)), own]
        if all_scores:
            line += [f"{score:.4f}" for score in scores]
        rows.append(line)
    return csv_text(rows)

"""Stored features as a data set: pieces of safetensors files with labels.

A folder of features has the parts ``train`` and ``test``. A piece of a part is ``NAME.safetensors``
with the tensors ``features``, floats (rows, width), and ``labels``: class ids (rows,), or zeros and
ones (rows, classes). ``classes.json`` lists the names of the classes; by default they are "0", "1"
and so on. Pieces are read by the order of their names.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from cl_prompts.checks import shown
from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.source import Part, Source

#: describes features that :func:`~cl_prompts.experiments.runner.storing.store_features` wrote
ABOUT = "features.json"
CLASSES = "classes.json"


class StoredFeatures:
    """Rows of features; a piece is mapped to memory while its rows are read.

    Args:
        pieces: functions that return a piece (rows, width).
        source: what made the features.

    Example:
        >>> rows = StoredFeatures([lambda: torch.zeros(2, 4), lambda: torch.ones(3, 4)])
        >>> len(rows), rows.width, rows[2].tolist()
        (5, 4, [1.0, 1.0, 1.0, 1.0])
        >>> rows.batch(np.array([4, 0]))[:, 0].tolist()
        [1.0, 0.0]
    """

    def __init__(
        self, pieces: Sequence[Callable[[], Tensor]], source: str = "stored features"
    ) -> None:
        shapes = [piece().shape for piece in pieces]
        self.pieces = pieces
        self.source = source
        self.width = shapes[0][1]
        self._starts = np.cumsum([0, *(rows for rows, _ in shapes)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> Tensor:
        return self.batch(np.array([row]))[0]

    def batch(self, rows: np.ndarray) -> Tensor:
        """Read rows (n,) as a float32 tensor (n, width)."""
        values = torch.empty(len(rows), self.width)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for piece in np.unique(owners).tolist():
            mine = np.flatnonzero(owners == piece)
            values[mine] = self.pieces[piece]()[rows[mine] - self._starts[piece]].float()
        return values


def read_features(folder: Path) -> Source:
    """Read a folder of stored features.

    Args:
        folder: see the module.

    Raises:
        LayoutError: a missing part, or tensors that do not fit.
    """
    about = _json(folder / ABOUT, {})
    made = f"{about['backbone']} ({about['features']})" if about else "stored features"
    parts = []
    for part in ("train", "test"):
        files = sorted((folder / part).glob("*.safetensors"))
        if not files:
            raise LayoutError(f"{folder / part} has no .safetensors files")
        labels = np.concatenate([_labels(file) for file in files])
        kind = np.uint8 if labels.ndim == 2 else np.int64
        pieces = [partial(_tensor, file, "features") for file in files]
        parts.append(Part(StoredFeatures(pieces, made), labels.astype(kind)))
    labels = parts[0].labels
    highest = max(part.labels.max() for part in parts)
    n_classes = labels.shape[1] if labels.ndim == 2 else 1 + int(highest)
    names = _json(folder / CLASSES, [*map(str, range(n_classes))])
    if n_classes > len(names):
        raise LayoutError(f"{CLASSES} has {len(names)} classes, and labels are of {n_classes}")
    return Source(parts, tuple(names))


def _json(path: Path, default: object) -> Any:
    """Content of a JSON file; the default without the file."""
    return json.loads(path.read_text("utf-8")) if path.is_file() else default


def _labels(file: Path) -> np.ndarray:
    """Labels of a piece, which has to have one for each row of features."""
    features, labels = _tensor(file, "features"), _tensor(file, "labels").numpy()
    if features.ndim != 2 or not features.is_floating_point() or len(labels) != len(features):
        given = f"{features.dtype} {tuple(features.shape)} and labels {labels.shape}"
        raise LayoutError(f"{file} has features {given}: store floats (rows, width)")
    classes = labels.astype(np.int64)
    if (classes != labels).any() or classes.min(initial=0) < 0:
        raise LayoutError(f"{file} has labels {shown(labels)}: store class ids, or zeros and ones")
    return labels


def _tensor(file: Path, name: str) -> Tensor:
    with safe_open(file, framework="pt") as opened:
        return opened.get_tensor(name)  # mapped

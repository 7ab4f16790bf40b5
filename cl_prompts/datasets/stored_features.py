"""Stored features as a data set: pieces of ``.npy`` or safetensors files with labels.

A folder of features has the parts ``train`` and ``test``. A piece of a part is ``NAME.npy`` (rows,
width) with ``NAME.labels.npy``, or ``NAME.safetensors`` with the tensors ``features`` and
``labels``. Labels are class ids (rows,), or zeros and ones (rows, classes). ``classes.json`` lists
the names of the classes; by default they are "0", "1" and so on. Pieces are read by the order of
their names. Pickles are never read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

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
        LayoutError: a missing part, a piece without labels, or arrays that do not fit.
    """
    about = _json(folder / ABOUT, {})
    made = f"{about['backbone']} ({about['features']})" if about else "stored features"
    pieces = [[*map(_piece, _files(folder / part))] for part in ("train", "test")]
    forms = {(read().shape[1], labels.shape[1:]) for part in pieces for read, labels in part}
    if len(forms) > 1:
        raise LayoutError(f"pieces in {folder} differ in width or in the form of labels")
    parts = []
    for own in pieces:
        labels = np.concatenate([labels for _, labels in own])
        kind = np.uint8 if labels.ndim == 2 else np.int64
        parts.append(Part(StoredFeatures([read for read, _ in own], made), labels.astype(kind)))
    labels = parts[0].labels
    highest = max(part.labels.max() for part in parts)
    n_classes = labels.shape[1] if labels.ndim == 2 else 1 + int(highest)
    names = _json(folder / CLASSES, [*map(str, range(n_classes))])
    if n_classes > len(names):
        raise LayoutError(f"{CLASSES} has {len(names)} classes, and labels are of {n_classes}")
    return Source(parts, tuple(names))


def _json(path: Path, default: Any) -> Any:
    """Content of a JSON file; the default without the file."""
    try:
        return json.loads(path.read_text("utf-8")) if path.is_file() else default
    except ValueError as error:
        raise LayoutError(f"{path} cannot be read: {error}") from error


def _files(folder: Path) -> list[Path]:
    files = [*folder.glob("*.npy"), *folder.glob("*.safetensors")]
    files = [f for f in files if not f.name.endswith(".labels.npy")]
    if not files:
        raise LayoutError(f"{folder} has no .npy or .safetensors files")
    return sorted(files)


def _piece(file: Path) -> tuple[Callable[[], Tensor], np.ndarray]:
    """A function that maps the features of a piece, and the labels."""
    if file.suffix == ".npy":
        read, labelled = partial(_array, file), partial(_array, file.with_suffix(".labels.npy"))
    else:
        read, labelled = (partial(_tensor, file, name) for name in ("features", "labels"))
    features, labels = read(), labelled().numpy()
    if features.ndim != 2 or 0 in features.shape or not features.is_floating_point():
        given = f"{features.dtype} {tuple(features.shape)}"
        raise LayoutError(f"{file} has features {given}: store floats (rows, width)")
    most = np.inf if labels.ndim == 1 else 1
    if labels.dtype.kind not in "iu" or (labels < 0).any() or (labels > most).any():
        raise LayoutError(f"{file} has labels {labels.dtype}: store 0, 1, ... or rows of 0 and 1")
    if len(labels) != len(features):
        raise LayoutError(f"{file} has {len(features)} rows of features and {len(labels)} labels")
    return read, labels


def _array(file: Path) -> Tensor:
    try:
        # Copy-on-write, since tensors are writable.
        return torch.from_numpy(np.load(file, mmap_mode="c", allow_pickle=False))
    except (OSError, ValueError, EOFError, TypeError) as error:  # numpy suggests to read pickles
        raise LayoutError(f"{file} is not an .npy file of numbers") from error


def _tensor(file: Path, name: str) -> Tensor:
    try:
        with safe_open(file, framework="pt") as opened:
            found: Tensor = opened.get_tensor(name)  # mapped
            return found
    except (SafetensorError, OSError) as error:
        raise LayoutError(f"{file} has no tensor {name!r}: {error}") from error

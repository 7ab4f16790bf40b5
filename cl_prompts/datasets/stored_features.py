"""Stored features as a data set: pieces of ``.npy`` or safetensors files with labels.

A folder of features has the parts ``train`` and ``test``. A piece of a part is ``NAME.npy`` (rows,
width) with ``NAME.labels.npy``, or ``NAME.safetensors`` with the tensors ``features`` and
``labels``. Labels are class ids (rows,), or zeros and ones (rows, classes). ``classes.json`` lists
the names of the classes; by default they are "0", "1" and so on. Pieces are read by the order of
their names. Pickles are never read.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source

#: describes features that :func:`~cl_prompts.experiments.runner.storing.store_features` wrote
ABOUT = "features.json"
CLASSES = "classes.json"
#: types of features in safetensors files, as numpy reads them
_TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
_KEPT = 2**16  # rows read before their pages leave the memory of the process


class StoredFeatures:
    """Rows of features, read from memory-mapped files at each access.

    Args:
        pieces: arrays (rows, width), mapped or in memory.
        source: what made the features.

    Example:
        >>> rows = StoredFeatures([np.zeros((2, 4), np.float16), np.ones((3, 4), np.float16)])
        >>> len(rows), rows.width, rows[2].tolist()
        (5, 4, [1.0, 1.0, 1.0, 1.0])
        >>> rows.batch(np.array([4, 0]))[:, 0].tolist()
        [1.0, 0.0]
    """

    def __init__(self, pieces: Sequence[np.ndarray], source: str = "stored features") -> None:
        self.pieces = pieces
        self.source = source
        self.width = int(pieces[0].shape[1])
        self._starts = np.cumsum([0, *map(len, pieces)])
        self._read = 0

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, row: int) -> Tensor:
        return self.batch(np.array([row]))[0]

    def batch(self, rows: np.ndarray) -> Tensor:
        """Read rows (n,) as a float32 tensor (n, width)."""
        values = np.empty((len(rows), self.width), np.float32)
        owners = np.searchsorted(self._starts, rows, side="right") - 1
        for piece in np.unique(owners).tolist():
            mine = owners == piece
            values[mine] = self.pieces[piece][rows[mine] - self._starts[piece]]
        self._read += len(rows)
        if self._read >= _KEPT:
            self._read = 0
            self._release()
        return torch.from_numpy(values)

    def _release(self) -> None:
        """Drop mapped pages, so that memory does not grow with the stream."""
        for piece in self.pieces:
            if isinstance(piece.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
                piece.base.madvise(mmap.MADV_DONTNEED)


def read_features(folder: Path, cache: ImageCache | None) -> Source:
    """Read a folder of stored features.

    Args:
        folder: see the module.
        cache: unused.

    Raises:
        LayoutError: a missing part, a piece without labels, or arrays that do not fit.
    """
    about = _json(folder / ABOUT, dict)
    made = f"{about['backbone']} ({about['features']})" if about else "stored features"
    (train, labels), (test, test_labels) = (_part(folder / p, made) for p in ("train", "test"))
    if train.width != test.width:
        raise LayoutError(f"train has features of width {train.width}, and test {test.width}")
    if labels.ndim != test_labels.ndim:
        raise LayoutError("train and test have labels of different kinds")
    n_classes = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    names = _json(folder / CLASSES, list) or list(map(str, range(n_classes)))
    if labels.ndim == 1 and max(n_classes, int(test_labels.max()) + 1) > len(names):
        named = CLASSES if (folder / CLASSES).is_file() else "train"
        raise LayoutError(f"{named} has {len(names)} classes, and there are labels beyond them")
    return Source(train, labels, test, test_labels, tuple(map(str, names)))


def _json(path: Path, kind: type) -> Any:
    """Content of a JSON file of this kind; None without the file."""
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise LayoutError(f"{path} cannot be read: {error}") from error
    if not isinstance(found, kind):
        raise LayoutError(f"{path} is not a JSON {'list' if kind is list else 'object'}")
    return found


def _part(folder: Path, source: str) -> tuple[StoredFeatures, np.ndarray]:
    """Features and labels of a part."""
    pieces, labels = [], []
    for file in _pieces(folder):
        features, own = _mapped(file) if file.suffix == ".safetensors" else _of_arrays(file)
        _check_piece(file, features, own)
        pieces.append(features)
        labels.append(own)
    first = (pieces[0].shape[1], labels[0].shape[1:])
    for features, own in zip(pieces, labels, strict=True):
        if (features.shape[1], own.shape[1:]) != first:
            raise LayoutError(f"pieces in {folder} differ in width or in the form of labels")
    whole = np.concatenate(labels)
    return StoredFeatures(pieces, source), whole.astype(np.int64 if whole.ndim == 1 else np.uint8)


def _pieces(folder: Path) -> list[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    files = [f for f in files if f.suffix in (".npy", ".safetensors")]
    if not files:
        raise LayoutError(f"{folder} has no .npy or .safetensors files")
    return [f for f in files if not f.name.endswith(".labels.npy")]


def _of_arrays(file: Path) -> tuple[np.ndarray, np.ndarray]:
    labels = file.with_suffix(".labels.npy")
    if not labels.is_file():
        raise LayoutError(f"{file} has no labels: add {labels.name} with one class id per row")
    return _array(file), np.array(_array(labels))


def _array(path: Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:  # numpy suggests to read pickles
        raise LayoutError(f"{path} is not an .npy file of numbers") from error


def _mapped(file: Path) -> tuple[np.ndarray, np.ndarray]:
    try:
        with safe_open(file, framework="np") as opened:  # checks the header
            missing = {"features", "labels"} - set(opened.keys())
            if missing:
                raise LayoutError(f"{file} has no {' and no '.join(sorted(missing))}: add them")
            labels = opened.get_tensor("labels")
    except (SafetensorError, OSError) as error:
        raise LayoutError(f"{file} is not a safetensors file: {error}") from error
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        tensor = json.loads(opened.read(size))["features"]
    if tensor["dtype"] not in _TYPES:
        raise LayoutError(f"{file} has features of type {tensor['dtype']}: store F16 or F32")
    start = 8 + size + tensor["data_offsets"][0]
    shape = tuple(tensor["shape"])
    return np.memmap(file, _TYPES[tensor["dtype"]], "r", start, shape), labels


def _check_piece(file: Path, features: np.ndarray, labels: np.ndarray) -> None:
    if features.ndim != 2 or 0 in features.shape or features.dtype.kind != "f":
        raise LayoutError(
            f"{file} has features {features.dtype} {features.shape}: store floats (rows, width)"
        )
    if labels.ndim not in (1, 2) or labels.dtype.kind not in "iu" or labels.min(initial=0) < 0:
        raise LayoutError(f"{file} has labels {labels.dtype}: store integers 0, 1, ...")
    if len(labels) != len(features):
        raise LayoutError(f"{file} has {len(features)} rows of features and {len(labels)} labels")
    if labels.ndim == 2 and labels.max(initial=0) > 1:
        raise LayoutError(f"{file} has labels of two dimensions: store zeros and ones")

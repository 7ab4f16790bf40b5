"""Images of a run that those which learn on from it need: their files, and what is replayed.

``images.json`` lists the files of training and test images with their labels, and the SHA-256 of
each image that the method replays; with ``keep_images=true`` a copy of it lies in ``images/``,
named by its content.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_prompts.datasets.dataset import DataSet, RecordedSet
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.joined import JoinedDataSet
from cl_prompts.datasets.readers import Source
from cl_prompts.datasets.registry import DATASETS, dataset_of
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.settings import Settings
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.checksums import COPIES, IMAGES_FILE
from cl_prompts.experiments.run_folder.folder import RunFolder
from cl_prompts.reading import TABLE, TEXT, conform, content, json_of, sha256

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.building import Parts

_PART = {"files": [str], "labels": list, "ignored": (list, None), "domains": ([str], None)}
_DATA = {"root": str, "classes": [str], "fingerprint": dict, "train": _PART, "test": _PART}
_SCHEMA = {"data": (_DATA, None), "gone": [int], "replayed": {str: str}}


def check_keeping(settings: Settings, data: DataSet) -> None:
    """Refuse to keep images that come from no files.

    Raises:
        InputError: says so.
    """
    if settings.keep_images and not _has_files(settings, data):
        raise InputError(
            f"keep_images keeps copies of image files, and data set {data.name!r} has none: leave"
            " it out"
        )


def _has_files(settings: Settings, data: DataSet) -> bool:
    """Whether all images come from files of a registered data set."""
    known = settings.dataset["name"] in DATASETS
    return known and bool(data.train.files) and bool(data.test.files)


def record_images(parts: Parts, folder: RunFolder) -> None:
    """Write ``images.json``, and copies where they are wanted, at the end of a run.

    Raises:
        OSError: a replayed image cannot be read.
        RunError: the disk is full or read-only.
    """
    data = parts.data
    if not _has_files(parts.settings, data):
        return
    if (folder.path / COPIES).is_symlink():
        raise RunError(
            f"{folder.path / COPIES} is a link, through which nothing is written: remove it"
        )
    # Only what may be replayed again has to be there when another run learns on.
    references, _ = parts.strategy.replayed()
    names = data.train.files
    replayed = {}
    for row in sorted(rows_of(parts, references)):
        image = content(names[row], TABLE)
        replayed[row] = hashlib.sha256(image).hexdigest()
        if parts.settings.keep_images:
            copy = _copy(folder.path, replayed[row], names[row])
            files.make_folder(copy.parent, exist_ok=True)
            # Copies are named by their content, so one that is whole is not written again.
            if not _holds(copy, replayed[row]):
                folder.replace(f"{COPIES}/{copy.name}", [image])
    # What its ancestors brought is recorded in their folders.
    own = data.later if isinstance(data, JoinedDataSet) else data
    edited = parts.settings.parent and not isinstance(data, JoinedDataSet)
    record = {
        "data": None if edited else _described(own),
        "gone": list(getattr(data, "gone", ())),
        "replayed": replayed,
    }
    folder.write_text(IMAGES_FILE, json.dumps(record))


def rows_of(parts: Parts, references: Any) -> list[int]:
    """Training images of a run that references (m, 2) to its experiences stand for, by row."""
    return [int(parts.split.tasks[task][row]) for task, row in references.tolist()]


def _described(data: DataSet) -> dict[str, Any]:
    # Relative to their common folder, which stands in the record once.
    root = os.path.commonpath(
        [os.path.dirname(os.path.abspath(p)) for p in (*data.train.files, *data.test.files)]
    )
    described: dict[str, Any] = {
        "root": root,
        "classes": list(data.classes),
        "fingerprint": data.train.fingerprint(),
    }
    for name, part in (("train", data.train), ("test", data.test)):
        described[name] = {
            "files": [os.path.relpath(path, root) for path in part.files],
            "labels": part.targets.tolist(),
            "ignored": None if part.ignored is None else part.ignored.tolist(),
            "domains": None if part.domains is None else list(map(str, part.domains)),
        }
    return described


def recorded_data(folder: Path, settings: Settings, image_size: int) -> DataSet | None:
    """The images that a finished run brought itself, as it recorded them; None where it did not, or
    where their folder is another one now.

    Args:
        folder: of the run, whose checksums were compared.
        settings: of the run.
        image_size: of its backbone.

    Raises:
        InputError: the record is damaged.
    """
    known = _record(folder)["data"]
    if known is None or not Path(known["root"]).is_dir():
        return None

    def read(cache: int | None) -> Source:
        values: dict[str, Any] = {"classes": tuple(known["classes"])}
        for name in ("train", "test"):
            part: dict[str, Any] = {
                key: None if of is None else np.array(of) for key, of in known[name].items()
            }
            paths = [os.path.join(known["root"], path) for path in known[name]["files"]]
            values[name] = FileImages(paths, cache=cache)
            several = part["labels"].ndim == 2
            values[f"{name}_targets"] = part["labels"].astype(np.uint8 if several else np.int64)
            values |= {f"{name}_{key}": part[key] for key in ("ignored", "domains")}
        return Source(**values)

    name, arguments = settings.section("dataset")
    kept = ("augment", "cache", "cache_gb", "crop")
    alike = {key: arguments[key] for key in kept if key in arguments}
    try:
        data = dataset_of(name, read, image_size=image_size, seed=settings.seed, **alike)
    except (ValueError, IndexError) as error:
        raise InputError(f"{folder / IMAGES_FILE} is damaged: {error}") from error
    return replace(data, train=RecordedSet(data.train, known["fingerprint"]))


def copies_for(folder: Path, data: DataSet) -> tuple[dict[int, str], tuple[int, ...]]:
    """Where the training images are that a finished run replays and that are gone, by row.

    Args:
        folder: of the run.
        data: its images.

    Returns:
        Copies in the run folder, and the rows of those that are gone altogether, or have another
        content.
    """
    moved = {}
    gone = []
    names = data.train.files
    for row, digest in _record(folder)["replayed"].items():
        path = names[int(row)]
        copy = _copy(folder, digest, path)
        # The original first; a copy stands in where it is gone or was changed.
        if _holds(Path(path), digest):
            continue
        if _holds(copy, digest):
            moved[int(row)] = str(copy)
        else:
            gone.append(int(row))
    return moved, tuple(gone)


def recorded_gone(folder: Path) -> tuple[int, ...]:
    """Rows that were gone already when a finished run began."""
    return tuple(_record(folder)["gone"])


def _record(folder: Path) -> dict[str, Any]:
    file = folder / IMAGES_FILE
    if not file.is_file():
        return {"data": None, "gone": [], "replayed": {}}
    try:
        record = json_of(content(file, TEXT))
        conform(record, _SCHEMA)
    except ValueError as error:
        raise InputError(f"{file} is damaged: {error}") from error
    found: dict[str, Any] = record
    return found


def _copy(folder: Path, digest: str, path: str) -> Path:
    """Place of the copy of an image file in a run folder."""
    return folder / COPIES / f"{digest}{os.path.splitext(path)[1].lower()}"


def _holds(path: Path, digest: str) -> bool:
    """Whether there is a file with this content."""
    return path.is_file() and sha256(path, TABLE) == digest

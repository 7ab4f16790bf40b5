"""What the registry knows about a data set, and how its folder is found, fetched and read."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl_prompts.datasets.dataset import IMAGENET_MEAN, IMAGENET_STD, Statistics
from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.readers import Reader, Source
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.errors import InputError


@dataclass(frozen=True)
class DataSetEntry:
    """What the registry knows about a data set.

    >>> from cl_prompts.datasets.readers import read_folder
    >>> entry = DataSetEntry(read_folder, "holiday photos", Augmentation(), layout="train/, test/")
    >>> entry.folder  # no usual place: load_dataset asks for root
    ''

    Args:
        read: turns the data set's folder into images and labels; ``load_dataset`` takes its
            keyword arguments as options of this data set.
        description: one line for ``cl-prompts ls``.
        augmentation: transforms of its training and test images.
        mean, std: statistics of its pixels in [0, 1], per channel.
        layout: what its folder should hold; empty for an embedded data set, which has no folder.
        folder: usual place of its folder below the folder of all data; empty where there is none.
        origin: official address of the archive, or of the page that offers it.
        unpack: the commands that fetch and unpack it by hand, with ``{at}`` for the folder above
            its own.
        download: fetches it into its folder, where torchvision can.
    """

    read: Reader
    description: str
    augmentation: Augmentation
    mean: Statistics = IMAGENET_MEAN
    std: Statistics = IMAGENET_STD
    layout: str = ""
    folder: str = ""
    origin: str = ""
    unpack: str = ""
    download: Callable[[Path], None] | None = None


def read_entry(
    name: str,
    entry: DataSetEntry,
    root: str | Path | None,
    *,
    download: bool,
    cache: int | None,
    **options: Any,
) -> Source:
    """Images and labels of a registered data set.

    Args:
        name, entry: key and value in the registry.
        root, download: see ``load_dataset``.
        cache: see ``FileImages``.
        options: of ``entry.read``.

    Raises:
        InputError: missing or incomplete data set.
    """
    if not entry.layout:
        if root is not None:
            raise InputError(
                f"data set {name!r} is part of the package and has no folder: leave out root"
                f" ({root})"
            )
        return entry.read(Path(), cache, **options)
    if root is None and not entry.folder:
        raise InputError(f"data set {name!r} needs a root, the folder that holds {entry.layout}")
    folder = _locate(entry, root)
    if download and entry.download is not None:
        try:
            entry.download(folder)
        except (OSError, RuntimeError) as error:
            problem = f"could not be downloaded from {entry.origin} ({error})"
            raise InputError(_guidance(name, entry, folder, problem, by_hand=True)) from error
        folder = _locate(entry, root)
    by_hand = download or entry.download is None
    if not folder.is_dir():
        raise InputError(_guidance(name, entry, folder, "was not found", by_hand=by_hand))
    try:
        return entry.read(folder, cache, **options)
    except LayoutError as error:
        problem = f"is incomplete ({error})"
        raise InputError(_guidance(name, entry, folder, problem, by_hand=by_hand)) from error


def _locate(entry: DataSetEntry, root: str | Path | None) -> Path:
    """The data set's own folder: ``root``, or the usual place within it."""
    usual = Path(entry.folder)
    base = Path(os.environ.get("CL_PROMPTS_DATA") or "data") / usual if root is None else Path(root)
    folder = base.expanduser().absolute()
    inner = [folder.joinpath(*usual.parts[start:]) for start in range(len(usual.parts))]
    return next((place for place in inner if place.is_dir()), folder)


def _guidance(name: str, entry: DataSetEntry, folder: Path, problem: str, *, by_hand: bool) -> str:
    """What is amiss, where it was looked for, what should be there and how to get it there."""
    sentence = f"data set {name!r} {problem}: looked in {folder}, which should hold {entry.layout}"
    if not entry.origin:
        return sentence
    if not by_hand:
        return (
            f"{sentence}; the same command with dataset.download=true fetches it from"
            f" {entry.origin}"
        )
    usual = Path(entry.folder).parts
    above = folder.parents[len(usual) - 1] if folder.parts[-len(usual) :] == usual else folder
    return f"{sentence}; to fetch it: {entry.unpack.format(at=shlex.quote(str(above)))}"

"""Data sets that the library ``datasets`` reads: of its hub, local, and WebDataset shards."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from glob import glob
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from cl_prompts.checks import one_of
from cl_prompts.datasets.classes import label_matrix
from cl_prompts.datasets.files import LayoutError, StoredImage
from cl_prompts.datasets.source import Part, Source, numbered
from cl_prompts.errors import InputError, first_of, short
from cl_prompts.user_code import extra

#: storage formats that run no code and hold no pickles
_SAFE = ("arrow", "cache", "imagefolder", "parquet")
_SAVED = ("dataset_dict.json", "state.json")
_TEST_SPLITS = ("test", "validation", "valid", "val")
_OPTIONS = ("image", "label", "subset", "train_split", "test_split")
_LABELS = re.compile(r"string|u?int\d+")


def read_hf(
    folder: Path,
    path: str,
    image: str | None = None,
    label: str | None = None,
    revision: str | None = None,
    subset: str | None = None,
    train_split: str = "train",
    test_split: str | None = None,
    test_percent: float | None = None,
    split_seed: int = 0,
) -> Source:
    """Read a data set of the Hugging Face hub, or a local folder in one of its formats.

    Formats are Parquet, Arrow, ``imagefolder`` and ``save_to_disk``. Code of a data set is never
    run and pickles are never read. Images are decoded on access.

    Args:
        path: name on the hub, such as uoft-cs/cifar100, or a local folder.
        image: column of the images; needed if there are several.
        label: column of the labels: class labels, texts or whole numbers, or lists of these for
            several labels per image; needed if there are several.
        revision: branch, tag or commit on the hub.
        subset: configuration of a data set that has several.
        train_split: split of the training images.
        test_split: split of the test images; by default test, validation, valid or val.
        test_percent: percent of the training split that become test images, if there is no test
            split; see :func:`~cl_prompts.datasets.readers.split_rows`.
        split_seed: seed of this choice.

    Raises:
        InputError: an unreachable or unsuitable data set, no such split or column, or a row without
            label.
    """
    found = _opened(path, subset, revision)
    names = [train_split]
    if test_percent is None:
        names.append(test_split or _test_split(found) or "test")
    for name in names:
        if name not in found:
            raise InputError(
                f"data set {path!r} has no split {name!r} but {', '.join(found)}: name splits by"
                " train_split and test_split, or give test_percent=20"
            )
    if len(names) > len(set(names)):
        raise InputError(f"train_split and test_split of {path!r} are both {names[0]!r}")
    tables = [found[name] for name in names]
    images = [_images(f"{path}/{n}", t, image) for n, t in zip(names, tables, strict=True)]
    classes, targets = _targets(path, names, tables, label)
    parts = [*map(Part, images, targets)]
    if test_percent is not None:
        parts = [*parts[0].split(classes, test_percent, split_seed)]
    return Source(parts, classes)


def read_webdataset(folder: Path) -> Source:
    """Read ``train*.tar`` and ``test*.tar``, of which the library makes tables in its cache.

    A label is the whole number in a ``.cls`` file, the text of a ``.txt`` file, or the entry
    ``label`` of a ``.json`` file. The classes are the labels of both parts, sorted; whole numbers
    by their value.

    Raises:
        LayoutError: no or damaged shards, or an image without label.
    """
    library = extra("datasets", "datasets", "dataset=webdataset")
    parts = []
    for name in ("train", "test"):
        shards = sorted(map(str, folder.glob(f"{name}*.tar")))
        if not shards:
            raise LayoutError(f"{folder} has no {name}*.tar")
        try:
            table = library.load_dataset("webdataset", data_files=shards, split="train")
            column = next(name for name in ("cls", "txt", "json") if name in table.features)
            rows = table.select_columns([column, "__key__"])[:]
            labels = [entry["label"] if column == "json" else entry for entry in rows[column]]
            if None in labels:
                raise ValueError(f"no label for {rows['__key__'][labels.index(None)]}")
        except Exception as error:  # the library raises its own errors and those of tarfile
            raise LayoutError(
                f"{name}*.tar cannot be read: each image needs a number in .cls, or a text in .txt"
                f" or entry label of .json ({short(error)})"
            ) from error
        texts = np.array([str(label).strip() for label in labels])
        parts.append(Part(_images(f"{folder}/{name}", table, None), texts))
    names = {text for part in parts for text in part.labels.tolist()}
    order = sorted(names, key=int if all(map(str.isdecimal, names)) else str)
    return Source(*numbered(parts, order))


def hub_options(place: str | Path) -> dict[str, str]:
    """Return the options of :func:`read_hf` for a place on the command line; empty for another.

    A place is ``hf://NAME[@REVISION]`` or a local folder of Parquet files or ``save_to_disk``.
    Options follow as in an address.

    >>> hub_options("hf://uoft-cs/cifar100@main?label=fine_label")
    {'path': 'uoft-cs/cifar100', 'revision': 'main', 'label': 'fine_label'}
    """
    head, _, query = str(place).partition("?")
    # Path joins the two slashes.
    name = re.sub("^hf:/+", "", head)
    if name != head:
        path, _, revision = name.partition("@")
        options = {"path": path, **({"revision": revision} if revision else {})}
    elif _is_saved(head) or glob(f"{head}/*.parquet") or glob(f"{head}/*/*.parquet"):
        options = {"path": os.path.abspath(head)}
    else:
        return {}
    for key, value in parse_qsl(query):
        one_of(f"option of {head}", key, _OPTIONS)
        options[key] = value
    return options


def has_test_part(options: Mapping[str, str]) -> bool:
    """Return whether a data set has a split of test images, given its :func:`hub_options`."""
    found = _opened(options["path"], options.get("subset"), options.get("revision"))
    return "test_split" in options or _test_split(found) is not None


def labelled_rows(
    options: Mapping[str, str], *, labels: bool = True
) -> tuple[list[StoredImage], list[list[str]]]:
    """Return the test images of a data set, or all if it has none, and the labels of each.

    Args:
        options: as returned by :func:`hub_options`.
        labels: whether to read labels; otherwise each image has none.

    Raises:
        InputError: see :func:`read_hf`.
    """
    path = options["path"]
    found = _opened(path, options.get("subset"), options.get("revision"))
    split = options.get("test_split") or _test_split(found) or options.get("train_split", "train")
    one_of(f"split of {path!r}", split, tuple(found))
    images = _images(f"{path}/{split}", found[split], options.get("image"))
    if not labels:
        return images, [[] for _ in images]
    classes, (targets,) = _targets(path, [split], [found[split]], options.get("label"))
    rows = targets if targets.ndim == 2 else np.eye(len(classes), dtype=bool)[targets]
    return images, [[classes[place] for place in np.flatnonzero(row)] for row in rows]


def _is_saved(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in _SAVED)


def _test_split(found: Mapping[str, Any]) -> str | None:
    return next((name for name in _TEST_SPLITS if name in found), None)


def _opened(path: str, subset: str | None, revision: str | None) -> Mapping[str, Any]:
    """Return the splits of a data set by name."""
    library = extra("datasets", "datasets", "dataset=hf")
    place = os.path.expanduser(path)
    if path.startswith((".", "/", "~")) and not os.path.isdir(place):
        raise InputError(f"there is no folder {path}")
    try:
        if _is_saved(place):
            saved = library.load_from_disk(place)
            return saved if isinstance(saved, Mapping) else {"train": saved}
        made = library.load_dataset_builder(place, name=subset, revision=revision)
        form = type(made).__module__.rpartition(".")[-1]
        if form in _SAFE:
            made.download_and_prepare()
            splits: Mapping[str, Any] = made.as_dataset()
            return splits
    except Exception as error:  # the library raises its own errors, the hub's and the system's
        raise InputError(
            f"data set {path!r} cannot be loaded ({type(error).__name__}: {short(error)}). Check"
            " its name and the network; for a gated one, accept its terms and run hf auth login"
        ) from error
    raise InputError(f"data set {path!r} is stored as {form}: save it as Parquet or image folder")


def _images(part: str, table: Any, wanted: str | None) -> list[StoredImage]:
    column = _column(part, table, "image", wanted, _is_image)
    image = extra("datasets", "datasets", "dataset=hf").Image(decode=False)
    encoded = table.with_format(None).select_columns([column]).cast_column(column, image)
    return [StoredImage(encoded, column, part, row) for row in range(len(encoded))]


def _is_image(feature: object) -> bool:
    # Parquet that another library wrote has the bytes without the type.
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and "bytes" in feature)


def _is_class(feature: object) -> bool:
    return type(getattr(feature, "feature", feature)).__name__ == "ClassLabel"


def _is_label(feature: object) -> bool:
    kind = str(getattr(getattr(feature, "feature", feature), "dtype", ""))
    return _is_class(feature) or bool(_LABELS.fullmatch(kind))


def _column(
    what: str, table: Any, kind: str, wanted: str | None, fits: Callable[[object], bool]
) -> str:
    """Return the column of a name, or the only fitting one.

    Raises:
        InputError: an unknown or unsuitable column, or not exactly one.
    """
    if wanted is not None:
        one_of(f"column of {what}", wanted, tuple(table.features))
        if not fits(table.features[wanted]):
            raise InputError(
                f"column {wanted!r} of {what} has no {kind}s but {short(table.features[wanted])}"
            )
        return wanted
    fitting = [name for name, feature in table.features.items() if fits(feature)]
    classes = [name for name in fitting if _is_class(table.features[name])]
    if len(classes or fitting) == 1:
        return (classes or fitting)[0]
    many = f"several columns of {kind}s, {', '.join(classes or fitting)}: choose one"
    few = f"no column of {kind}s: its columns are {first_of(table.features, 8)}"
    raise InputError(f"{what} has {f'{many} by {kind}=NAME' if fitting else few}")


def _targets(
    path: str, names: Sequence[str], tables: Sequence[Any], wanted: str | None
) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Return the class names of a data set, and the labels of each split as ``Source`` has them."""
    column = _column(f"{path}/{names[0]}", tables[0], "label", wanted, _is_label)
    parts = []
    for name, table in zip(names, tables, strict=True):
        if table.features.get(column) != tables[0].features[column]:
            raise InputError(f"column {column!r} of {path!r} differs in {names[0]} and {name}")
        parts.append(table.with_format(None).select_columns([column])[:][column])
    feature = tables[0].features[column]
    inner = getattr(feature, "feature", feature)
    several = inner is not feature
    rows = [part if several else [[value] for value in part] for part in parts]
    values = {*chain.from_iterable(chain.from_iterable(rows))}
    # A missing label is None; on the hub also -1.
    known: Sequence[Any] = range(len(inner.names)) if _is_class(inner) else sorted(values - {None})
    column_of = {value: place for place, value in enumerate(known)}
    for name, part in zip(names, rows, strict=True):
        bad = [row for row, own in enumerate(part) if not column_of.keys() >= {*own}]
        if bad:
            raise InputError(f"row {bad[0]} of {path}/{name} has no label: choose another split")
    classes = tuple(inner.names) if _is_class(inner) else tuple(map(str, known))
    if several:
        return classes, [label_matrix(part, known) for part in rows]
    return classes, [np.array([column_of[value] for value in part]) for part in parts]

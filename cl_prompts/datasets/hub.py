"""Data sets that the library ``datasets`` reads: of its hub, local, and WebDataset shards."""

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
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.decoding import FileImages
from cl_prompts.datasets.files import ImageFile, StoredImage
from cl_prompts.datasets.source import Source, source_of
from cl_prompts.errors import InputError, first_of, short
from cl_prompts.user_code import extra

#: storage formats that run no code and hold no pickles
_SAFE = ("arrow", "cache", "imagefolder", "parquet", "webdataset")
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
            split; see :func:`~cl_prompts.datasets.source.split_rows`.
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
    parts, classes = _labelled(path, {name: found[name] for name in names}, image, label)
    return source_of(parts, classes, test_percent, split_seed)


def read_webdataset(folder: Path) -> Source:
    """Read ``train*.tar`` and ``test*.tar``, of which the library makes tables in its cache.

    A label is the whole number in a ``.cls`` file, the text of a ``.txt`` file, or the entry
    ``label`` of a ``.json`` file. The classes are the labels of both parts, sorted.

    Raises:
        InputError: no shards, or an image without label.
    """
    columns = next(iter(_opened(str(folder), None, None).values())).features
    label = next((name for name in ("cls", "txt", "json.label") if name in columns), None)
    return read_hf(folder, str(folder), label=label)


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
) -> tuple[Sequence[ImageFile], list[list[str]]]:
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
    table, image = found[split], options.get("image")
    if not labels:
        return _images(f"{path}/{split}", table, image), [[]] * len(table)
    parts, classes = _labelled(path, {split: table}, image, options.get("label"))
    targets = parts[0].targets
    rows = targets if targets.ndim == 2 else np.eye(len(classes), dtype=bool)[targets]
    return parts[0].files, [[classes[place] for place in np.flatnonzero(row)] for row in rows]


def _is_saved(folder: str) -> bool:
    return any(map(os.path.isfile, (f"{folder}/dataset_dict.json", f"{folder}/state.json")))


def _test_split(found: Mapping[str, object]) -> str | None:
    return next((name for name in _TEST_SPLITS if name in found), None)


def _opened(path: str, subset: str | None, revision: str | None) -> Mapping[str, Any]:
    """Return the splits of a data set by name."""
    library = extra("datasets", "datasets", "dataset=hf")
    place = os.path.expanduser(path)
    try:
        if _is_saved(place):
            saved = library.load_from_disk(place)
            return saved if isinstance(saved, Mapping) else {"train": saved}
        made = library.load_dataset_builder(place, name=subset, revision=revision)
        form = type(made).__module__.rpartition(".")[-1]
        if form in _SAFE:
            made.download_and_prepare()
            splits: Mapping[str, Any] = made.as_dataset()
            # JSON files of WebDataset have entries, of which each becomes a column.
            flat = form == "webdataset"
            return {name: s.flatten() for name, s in splits.items()} if flat else splits
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
    # WebDataset has columns like __key__.
    known = {name: f for name, f in table.features.items() if not name.startswith("__")}
    fitting = [name for name, feature in known.items() if fits(feature)]
    classes = [name for name in fitting if _is_class(table.features[name])]
    if len(classes or fitting) == 1:
        return (classes or fitting)[0]
    many = f"several columns of {kind}s, {', '.join(classes or fitting)}: choose one"
    few = f"no column of {kind}s: its columns are {first_of(table.features, 8)}"
    raise InputError(f"{what} has {f'{many} by {kind}=NAME' if fitting else few}")


def _labelled(
    path: str, tables: Mapping[str, Any], image: str | None, label: str | None
) -> tuple[list[ImageSet], tuple[str, ...]]:
    """Return the images and labels of each split, and the names of the classes."""
    (first, table), *_ = tables.items()
    column = _column(f"{path}/{first}", table, "label", label, _is_label)
    feature = table.features[column]
    inner = getattr(feature, "feature", feature)
    several = inner is not feature
    rows: dict[str, list[list[Any]]] = {}
    for name, other in tables.items():
        values = other.with_format(None).select_columns([column])[:][column]
        if column == "txt":  # a file of WebDataset, which may end in a new line
            values = [text and text.strip() for text in values]
        rows[name] = values if several else [[value] for value in values]
    # A missing label is None; on the hub also -1.
    met = {*chain.from_iterable(chain.from_iterable(rows.values()))} - {None}
    known: Sequence[object] = range(len(inner.names)) if _is_class(inner) else sorted(met)
    classes = tuple(inner.names) if _is_class(inner) else tuple(map(str, known))
    place = {value: position for position, value in enumerate(known)}
    parts = []
    for name, own in rows.items():
        bad = [row for row, labels in enumerate(own) if not place.keys() >= {*labels}]
        if bad:
            raise InputError(f"row {bad[0]} of {path}/{name} has no label: choose another split")
        labels = label_matrix(own, known) if several else np.array([place[one] for (one,) in own])
        images = FileImages(_images(f"{path}/{name}", tables[name], image))
        parts.append(ImageSet(images, labels))
    return parts, classes

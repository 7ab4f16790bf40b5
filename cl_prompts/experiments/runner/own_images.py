"""Survey of a folder or table of one's own images."""

from __future__ import annotations

import csv
import io
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from cl_prompts.datasets.bad_images import Look, Progress, look_at
from cl_prompts.datasets.classes import domain_names, relabel
from cl_prompts.datasets.csv_table import (
    DOMAIN_HEADER,
    HEADER,
    csv_rows,
    has_domains,
    label_matrix,
    label_names,
    read_csv,
)
from cl_prompts.datasets.domain_folders import read_any_folder, split_cells
from cl_prompts.datasets.files import check_files
from cl_prompts.datasets.folders import (
    FORMATS,
    class_folders,
    hidden_folders,
    holds_domains,
    images_in,
)
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import Source, both_parts, split_rows
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.metrics_file import METRICS_FILE
from cl_prompts.experiments.runner.findings import Survey


def name_of(place: Path) -> str:
    """Name of a recipe for a folder or table.

    >>> name_of(Path("data/My photos/")), name_of(Path("birds.csv"))
    ('My_photos', 'birds')
    """
    resolved = place.resolve()
    if resolved.name in ("train.csv", "test.csv"):
        resolved = resolved.parent
    stem = resolved.stem if resolved.suffix == ".csv" else resolved.name
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "images"


def survey(
    place: Path,
    *,
    test_percent: float = 20,
    seed: int = 0,
    tables: Path | None = None,
    progress: Progress | None = None,
    least: int = 2,
) -> Survey:
    """Look at all images of a folder or table, each decoded once.

    Args:
        place: a folder of ``train/<class>/*`` and ``test/<class>/*`` (or ``val``), of ``<class>/*``
            alone, the same with a folder for each domain above those of classes, or of
            ``train.csv`` and ``test.csv``; one of these tables; or another table with rows of
            ``path,label;label`` or ``path,label,domain``.
        test_percent, seed: share and choice of test images, where there is no test part.
        tables: folder for the ``train.csv`` and ``test.csv`` that such another table is divided
            into, see :meth:`Survey.keep`; by default that of the table.
        progress: called with the number of files looked at so far, and of all.
        least: classes that there have to be.

    Raises:
        InputError: there are no such images, or too few classes that have some.
    """
    if not place.exists():
        raise InputError(f"there is no folder or table {place}")
    if (place / METRICS_FILE).is_file():
        raise InputError(f"{place} is the folder of a run: name one of images")
    if (place / "VOCdevkit").is_dir() or (place / "ImageSets").is_dir():
        raise InputError(
            f"{place} is laid out as VOC 2007, which dataset=voc2007 dataset.root={place} reads in"
            " a recipe for several labels an image, such as voc_b0_c4"
        )
    share = f"{test_percent:g} % of the images are test images, chosen by seed {seed}"
    found = _Findings()
    if place.is_file() and place.name not in ("train.csv", "test.csv"):
        root = tables or place.parent
        if tables is not None and tables.is_symlink():
            raise InputError(f"{tables} is a link, through which nothing is written: remove it")
        for name in ("train.csv", "test.csv"):
            if os.path.lexists(root / name):
                raise InputError(f"{root / name} exists already: name that folder, or move it away")
        found.tables = _divided(place, test_percent, seed, found.left_out)
        found.split = f"there is no test part: {share}, in train.csv and test.csv of {root}"
        settings = {"name": "csv", "root": str(root.resolve())}
        # Read as a run will read them, while nothing is written yet.
        with TemporaryDirectory() as scratch:
            for name, content in found.tables.items():
                files.replace(Path(scratch) / name, [content])
            source = read_csv(Path(scratch), None)
        return _surveyed(settings, source, found, progress, least)
    root = place.parent if place.is_file() else place
    if place.is_file() and not (root / "train.csv").is_file():
        raise InputError(
            f"there is no train.csv beside {place}: add it, or give the table another name if it is"
            " the only one"
        )
    settings = {"name": "folder", "root": str(root.resolve())}
    if (root / "train.csv").is_file():
        settings["name"] = "csv"
        return _surveyed(settings, read_csv(root, None), found, progress, least)
    parted = any((root / part).is_dir() for part in ("train", "test", "val"))
    # Whether folders are classes or domains is the same in both parts: one look is enough.
    part = root / "train" if parted else root
    domains = part.is_dir() and holds_domains(part)
    options: dict[str, Any] = {}
    if not parted:
        options = {"test_percent": test_percent, "split_seed": seed}
        found.split = f"there is no test part: {share}, of each class{' in each domain' * domains}"
    if domains:
        options["domains"] = True
    parts = both_parts(root) if parted else (root,)
    kept = found.look_at_folders(root, parts, domains=domains)
    left_out = sorted(name for names in found.left_out.values() for name in names)
    none = np.zeros(0, dtype=np.int64)
    so_far = Survey({}, kept, none, none, (), (), **vars(found))
    if left_out:
        _check_enough(so_far, least)
        options["leave_out"] = left_out
    settings |= options
    try:
        source = read_any_folder(root, None, **options)
    except InputError as error:  # with all else that was found, so that one look is enough
        others = replace(so_far, classes=()).warnings()
        raise InputError("; ".join([str(error), *others])) from error
    return _surveyed(settings, source, found, progress, least)


@dataclass
class _Findings:
    """Facts on classes before images are looked at; see :class:`Survey`."""

    split: str = ""
    left_out: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unread: Counter[str] = field(default_factory=Counter)
    hidden: Sequence[str] = ()
    beside: list[str] = field(default_factory=list)
    tables: Mapping[str, bytes] = field(default_factory=dict)

    def look_at_folders(
        self, root: Path, parts: Sequence[Path], *, domains: bool
    ) -> tuple[str, ...]:
        """Note the classes whose folders cannot be used, and hidden folders.

        Args:
            root: holds all.
            parts: folders of training and of test images, or one that is to be divided.
            domains: whether folders of domains stand above those of classes.

        Returns:
            names of the other classes.
        """
        self.hidden = hidden_folders(root)
        reasons: dict[str, str] = {}
        in_part: list[set[str]] = []
        for part in parts:
            places = [part / domain for domain in class_folders(part)] if domains else [part]
            folders = [place / name for place in places for name in class_folders(place)]
            for place in dict.fromkeys([part, *places]):
                files_there = sorted(file for file in place.iterdir() if file.is_file())
                shown = [file for file in files_there if not file.name.startswith(".")]
                self.beside += [str(f) for f in shown if f.suffix.lower() in FORMATS]
            in_part.append({folder.name for folder in folders})
            for folder in folders:
                images, others = images_in(folder)
                if not images:
                    reasons[folder.name] = "a folder without an image"
                    self.unread += others
                elif len(images) == 1 and len(parts) == 1:
                    reasons[folder.name] = "one image, where training and test need one each"
        names = set.union(*in_part)
        for part, there in zip(parts, in_part, strict=True):
            # With domains a class may have images on one side alone.
            for name in names - there if not domains else ():
                reasons[name] = f"no folder in {part.name}"
        for name in sorted(reasons):
            self.left_out[reasons[name]].append(name)
        return tuple(sorted(names - set(reasons)))


def _surveyed(
    settings: dict[str, Any],
    source: Source,
    known: _Findings,
    progress: Progress | None,
    least: int,
) -> Survey:
    assert isinstance(source.train, FileImages)
    assert isinstance(source.test, FileImages)
    paths = [*source.train.paths, *source.test.paths]
    check_files("this data set", source.train.paths, source.test.paths)
    looks = look_at(paths, progress)
    n = len(source.train.paths)
    train, train_targets = _readable(looks[:n], source.train_targets)
    test, test_targets = _readable(looks[n:], source.test_targets)
    broken = [look for look in looks if not look.readable]
    if broken:
        settings["on_bad_image"] = "skip"
    known.unread += source.unread
    found = Survey(
        settings,
        source.classes,
        train_targets=train_targets,
        test_targets=test_targets,
        train=train,
        test=test,
        broken=broken,
        domains=domain_names(source.train_domains),
        **vars(known),
    )
    return _of_usable_classes(found, least)


def _readable(looks: Sequence[Look], targets: np.ndarray) -> tuple[list[Look], np.ndarray]:
    """Looks at the images that can be read, and their labels."""
    good = np.array([look.readable for look in looks], dtype=bool)
    return [look for look in looks if look.readable], targets[good]


def _of_usable_classes(found: Survey, least: int) -> Survey:
    """The survey without classes that have no training or no test image that can be read."""
    left_out = {reason: list(names) for reason, names in found.left_out.items()}
    usable = dict.fromkeys(found.classes, True)
    readable = " that can be read" if found.broken else ""
    for part, targets in (("training", found.train_targets), ("test", found.test_targets)):
        names = [name for name, count in found.counts_of(targets).items() if not count]
        names = [name for name in names if usable[name]]
        usable.update(dict.fromkeys(names, False))
        if names:
            left_out[f"no {part} image{readable}"] = names
    chosen = np.flatnonzero(list(usable.values()))
    classes = tuple(found.classes[label] for label in chosen)
    kept = replace(found, classes=classes, left_out=left_out)
    if not all(usable.values()):
        parts: dict[str, Any] = {"settings": {**found.settings, "classes": list(classes)}}
        for part in ("train", "test"):
            targets = getattr(found, f"{part}_targets")
            rows, parts[f"{part}_targets"] = relabel(targets, chosen, len(found.classes))
            if rows is not None:
                parts[part] = [getattr(found, part)[row] for row in rows.tolist()]
        kept = replace(kept, **parts)
    _check_enough(kept, least)
    return kept


def _check_enough(found: Survey, least: int) -> None:
    n = len(found.classes)
    if n >= least:
        return
    there = f"there is one class, {found.classes[0]!r}" if n == 1 else "there is no class"
    needed = "at least two are needed" if least == 2 else "at least one is needed"
    raise InputError("; ".join([f"{there}: {needed}", *found.warnings()]))


def _divided(
    table: Path, test_percent: float, seed: int, left_out: dict[str, list[str]]
) -> dict[str, bytes]:
    """Content of ``train.csv`` and ``test.csv`` for a table without parts.

    Labels that stand there once are left out, which is noted.
    """
    rows = csv_rows(table)
    counts = Counter(label for row in rows for label in set(row.labels))
    single = sorted(label for label, count in counts.items() if count == 1)
    if single and len(single) < len(counts):
        left_out["one image, where training and test need one each"] = single
        kept = [[name for name in row.labels if name not in single] for row in rows]
        # Among images of several labels one may have none.
        several = any(len(row.labels) != 1 for row in rows)
        rows = [
            row._replace(labels=names)
            for row, names in zip(rows, kept, strict=True)
            if names or several
        ]
    if has_domains(rows):
        one = [row.labels[0] for row in rows]
        parts = split_cells(one, [row.domain for row in rows], test_percent, seed)
    else:
        classes = label_names([rows])
        labels = label_matrix([row.labels for row in rows], classes)
        parts = split_rows(labels, test_percent, seed, classes)
    tables = {}
    # As the system reads a path: of a link in it, ".." is where the link leads to.
    folder = os.path.abspath(table.parent)
    for name, some in zip(("train.csv", "test.csv"), parts, strict=True):
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(DOMAIN_HEADER if has_domains(rows) else HEADER)
        for path, names, domain in (rows[row] for row in some.tolist()):
            last = [domain] if domain else []
            writer.writerow([os.path.join(folder, path), ";".join(names), *last])
        tables[name] = text.getvalue().encode()
    return tables

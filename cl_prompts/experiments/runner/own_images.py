"""Survey of a folder or table of one's own images."""

from __future__ import annotations

import csv
import io
import os
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.bad_images import Look, Progress, copies, look_at
from cl_prompts.datasets.classes import domain_names
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
from cl_prompts.datasets.folders import describe, holds_domains
from cl_prompts.datasets.images import FileImages
from cl_prompts.datasets.readers import Source, split_rows
from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files

_NAMED = 3  # files that a sentence names
_APPLE = {".heic", ".heif"}


@dataclass(frozen=True)
class Survey:
    """Images, classes and faults of a folder or table.

    Attributes:
        settings: of the recipe's section ``dataset``.
        classes: their names.
        train_targets, test_targets: labels of the images that can be read, (n,) or (n, C).
        train, test: looks at these images.
        broken: looks at those that cannot be read.
        unread: files of each suffix that are no images to us.
        split: sentence on how a test part was made; empty where there was one.
        domains: names of the domains that the images come from, sorted; empty without any.
    """

    settings: Mapping[str, Any]
    classes: tuple[str, ...]
    train_targets: np.ndarray
    test_targets: np.ndarray
    train: Sequence[Look]
    test: Sequence[Look]
    broken: Sequence[Look] = ()
    unread: Counter[str] = field(default_factory=Counter)
    split: str = ""
    domains: Sequence[str] = ()

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.train_targets.ndim == 2

    @property
    def shorter_side(self) -> int:
        """Median over the training images, in pixels."""
        return int(statistics.median(min(look.height, look.width) for look in self.train))

    @property
    def counts(self) -> dict[str, int]:
        """Training images of each class."""
        return self.counts_of(self.train_targets)

    def counts_of(self, targets: np.ndarray) -> dict[str, int]:
        """Images of each class among these labels."""
        n = len(self.classes)
        counts = targets.sum(axis=0) if self.multi_label else np.bincount(targets, minlength=n)
        return dict(zip(self.classes, counts.tolist(), strict=True))

    def lines(self) -> list[str]:
        """Findings, a sentence a line."""
        kind = ", several labels per image" if self.multi_label else ""
        found = [
            f"{len(self.classes)} classes{kind}, {len(self.train)} training and {len(self.test)}"
            " test images"
        ]
        if self.domains:
            found.append(f"{len(self.domains)} domains: {', '.join(self.domains)}")
            if self.settings.get("domains"):
                found[-1] += (
                    "; folders are read as <domain>/<class>/*, since they hold folders of the same"
                    " names"
                )
        found += [self.split] if self.split else []
        found += [self._balance(), self._sizes()]
        if self.broken:
            found.append(
                f"{_n(len(self.broken), 'image')} that cannot be read, to be left out: "
                + _some([look.problem for look in self.broken], "; ")
            )
        if self.unread:
            apple = "; save HEIC images as JPEG to use them" if _APPLE & set(self.unread) else ""
            found.append(f"no image files: {describe(self.unread)}{apple}")
        return found + self._copies()

    def _balance(self) -> str:
        counts = self.counts
        fewest = min(counts, key=counts.__getitem__)
        most = max(counts, key=counts.__getitem__)
        if counts[fewest] == counts[most]:
            return f"every class has {counts[most]} training images"
        ratio = counts[most] / max(1, counts[fewest])
        return (
            f"training images of a class: {counts[fewest]} ({fewest}) to {counts[most]} ({most}),"
            f" {ratio:.1f} : 1"
        )

    def _sizes(self) -> str:
        sides = [(look.width, look.height) for look in (*self.train, *self.test)]
        low = min(sides, key=min)
        high = max(sides, key=min)
        if low == high:
            return f"every image has {low[0]} x {low[1]} pixels"
        return (
            f"images of {low[0]} x {low[1]} to {high[0]} x {high[1]} pixels, median shorter side"
            f" {self.shorter_side}"
        )

    def _copies(self) -> list[str]:
        training = {look.path for look in self.train}
        found = copies((*self.train, *self.test))
        mixed = [g for g in found if len({look.path in training for look in g}) == 2]
        lines = []
        if mixed:
            leaked = sum(look.path not in training for group in mixed for look in group)
            pair = " = ".join(_ends(mixed[0], training))
            lines.append(
                f"{_n(leaked, 'test image')} equal to a training image, the first is {pair}:"
                " remove it on one side"
            )
        within = sum(len(group) - 1 for group in copies(self.train))
        if within:
            lines.append(f"{_n(within, 'training image')} equal to another training image")
        return lines


def _ends(group: Sequence[Look], training: set[str]) -> tuple[str, str]:
    """A test image of a group of copies, and a training image."""
    test = next(look.path for look in group if look.path not in training)
    return test, next(look.path for look in group if look.path in training)


def _n(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _some(texts: Sequence[str], between: str) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return between.join(texts[:_NAMED]) + more


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
            into; by default that of the table.
        progress: called with the number of files looked at so far, and of all.
        least: classes that there have to be.

    Raises:
        InputError: there are no such images, or a class is left without some.
    """
    if not place.exists():
        raise InputError(f"there is no folder or table {place}")
    share = f"{test_percent:g} % of the images are test images, chosen by seed {seed}"
    divided = ""
    if place.is_file() and place.name not in ("train.csv", "test.csv"):
        place = _divided(place, tables or place.parent, test_percent, seed)
        divided = f"there is no test part: {share}, in train.csv and test.csv of {place}"
    root = place.parent if place.is_file() else place
    settings: dict[str, Any] = {"name": "folder", "root": str(root.resolve())}
    if (root / "train.csv").is_file():
        settings["name"] = "csv"
        domains = False
        source = read_csv(root, None)
    elif any((root / part).is_dir() for part in ("train", "test", "val")):
        domains = (root / "train").is_dir() and holds_domains(root / "train")
        source = read_any_folder(root, None, domains=domains)
    else:
        settings.update(test_percent=test_percent, split_seed=seed)
        domains = holds_domains(root)
        source = read_any_folder(root, None, test_percent, seed, domains)
        divided = f"there is no test part: {share}, of each class{' in each domain' * domains}"
    if domains:
        settings["domains"] = True
    return _surveyed(settings, source, divided, progress, least)


def _surveyed(
    settings: dict[str, Any], source: Source, divided: str, progress: Progress | None, least: int
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
    found = Survey(
        settings,
        source.classes,
        train_targets=train_targets,
        test_targets=test_targets,
        train=train,
        test=test,
        broken=broken,
        unread=source.unread,
        split=divided,
        domains=domain_names(source.train_domains),
    )
    _check_classes(found, least)
    return found


def _readable(looks: Sequence[Look], targets: np.ndarray) -> tuple[list[Look], np.ndarray]:
    """Looks at the images that can be read, and their labels."""
    good = np.array([look.readable for look in looks], dtype=bool)
    return [look for look in looks if look.readable], targets[good]


def _check_classes(found: Survey, least: int) -> None:
    if len(found.classes) < least:
        raise InputError(f"there is one class, {found.classes[0]!r}: at least two are needed")
    for part, targets in (("training", found.train_targets), ("test", found.test_targets)):
        for name, count in found.counts_of(targets).items():
            if count == 0:
                raise InputError(f"class {name!r} has no {part} image that can be read: add some")


def _divided(table: Path, out: Path, test_percent: float, seed: int) -> Path:
    """Write ``train.csv`` and ``test.csv`` for a table without parts; return their folder."""
    rows = csv_rows(table)
    if has_domains(rows):
        one = [row.labels[0] for row in rows]
        parts = split_cells(one, [row.domain for row in rows], test_percent, seed)
    else:
        classes = label_names([rows])
        labels = label_matrix([row.labels for row in rows], classes)
        parts = split_rows(labels, test_percent, seed, classes)
    out.mkdir(parents=True, exist_ok=True)
    for name, some in zip(("train.csv", "test.csv"), parts, strict=True):
        if (out / name).exists():
            raise InputError(f"{out / name} exists already: name that folder, or move it away")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(DOMAIN_HEADER if has_domains(rows) else HEADER)
        for path, names, domain in (rows[row] for row in some.tolist()):
            last = [domain] if domain else []
            writer.writerow([os.path.abspath(table.parent / path), ";".join(names), *last])
        files.replace(out / name, [text.getvalue().encode()])
    return out

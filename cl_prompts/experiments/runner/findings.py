"""Findings of a survey of one's own images, in sentences."""

from __future__ import annotations

import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.bad_images import Look, copies
from cl_prompts.datasets.folders import describe
from cl_prompts.errors import first_of
from cl_prompts.experiments.run_folder import files

_NAMED = 3  # files that a sentence names
_COLOUR = 8  # levels between the channels of a grey image that a camera or JPEG tinted
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
        left_out: why classes are left out -> names of those classes.
        hidden: folders that are not read since their names begin with a dot.
        beside: image files that are not read since they lie beside folders of classes.
        domains: names of the domains that the images come from, sorted; empty without any.
        tables: content of the ``train.csv`` and ``test.csv`` that a table without parts is divided
            into; they are written by :meth:`keep` alone.
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
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    hidden: Sequence[str] = ()
    beside: Sequence[str] = ()
    domains: Sequence[str] = ()
    tables: Mapping[str, bytes] = field(default_factory=dict, repr=False)

    def keep(self, root: Path | None = None) -> None:
        """Write the tables, if there are any.

        Args:
            root: folder for them; by default that of the settings.

        Raises:
            InputError: there is a file of that name.
            RunError: the disk is full or read-only.
        """
        root = root or Path(self.settings["root"])
        for name, content in self.tables.items():
            files.make_folder(root, exist_ok=True)
            files.write_new(root / name, [content])

    @property
    def multi_label(self) -> bool:
        """Whether an image may have several labels."""
        return self.train_targets.ndim == 2

    @property
    def shorter_side(self) -> int:
        """Median over the training images, in pixels."""
        return int(statistics.median(min(look.height, look.width) for look in self.train))

    @property
    def colourful(self) -> bool:
        """Whether most training images are in colour, as photographs are."""
        return statistics.median(look.colour for look in self.train) > _COLOUR

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
            found.append(f"{_n(len(self.domains), 'domain')}: {', '.join(self.domains)}")
            if self.settings.get("domains"):
                found[-1] += (
                    "; folders are read as <domain>/<class>/*, since they hold folders of the same"
                    " names"
                )
        found += [self.split] if self.split else []
        found += [self._balance(), self._sizes()]
        return found + [f"warning: {sentence}" for sentence in self.warnings()]

    def warnings(self) -> list[str]:
        """Findings to look at before a run, a sentence each."""
        everything = [*self.classes]
        found: list[str] = []
        for reason, names in self.left_out.items():
            everything += names
            found.append(f"{_n(len(names), 'class', 'es')} left out, {reason}: {_quoted(names)}")
        for names in _alike(everything), _alike(self.domains):
            if names:
                found.append(
                    f"names that differ in case or blanks alone, {_quoted(names)}: rename folders"
                    " or labels that mean the same"
                )
        if self.hidden:
            found.append(f"hidden folders are not read: {first_of(self.hidden, _NAMED)}")
        if self.beside:
            files = f"{_n(len(self.beside), 'image')} beside folders of classes"
            found.append(f"{files}, not read: {first_of(self.beside, _NAMED)}")
        if self.broken:
            found.append(
                f"{_n(len(self.broken), 'image')} that cannot be read, to be left out: "
                + first_of((look.problem for look in self.broken), _NAMED, "; ")
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
        # By the shorter side, as the median is.
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
        labels = self._labels()
        lines = []
        mixed = []
        doubtful = []
        for group in copies((*self.train, *self.test)):
            # In both parts: a test image that was trained on.
            if len({look.path in training for look in group}) == 2:
                mixed.append(group)
            if len({labels[look.path] for look in group}) > 1:
                doubtful.append(group)
        if doubtful:
            first = doubtful[0][0]
            other = next(look for look in doubtful[0] if labels[look.path] != labels[first.path])
            pair = " = ".join(f"{look.path} ({labels[look.path]})" for look in (first, other))
            lines.append(
                f"{_n(len(doubtful), 'image')} under two labels or more, with the same pixels, the"
                f" first is {pair}: keep the right one"
            )
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

    def _labels(self) -> dict[str, str]:
        """Label of each image, several joined by semicolons."""
        labels: dict[str, str] = {}
        for looks, targets in ((self.train, self.train_targets), (self.test, self.test_targets)):
            for look, target in zip(looks, targets, strict=True):
                own = np.flatnonzero(target) if self.multi_label else [target]
                labels[look.path] = ";".join(self.classes[label] for label in own)
        return labels


def _ends(group: Sequence[Look], training: set[str]) -> tuple[str, str]:
    """A test image of a group of copies, and a training image."""
    test = next(look.path for look in group if look.path not in training)
    return test, next(look.path for look in group if look.path in training)


def _n(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}{'' if count == 1 else plural}"


def _quoted(names: Sequence[str]) -> str:
    return first_of(map(repr, names), _NAMED)


def _alike(names: Sequence[str]) -> list[str]:
    """Names that differ from another one in case, blanks or the encoding of accents alone."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups["".join(unicodedata.normalize("NFKC", name).casefold().split())].add(name)
    return [name for group in groups.values() if len(group) > 1 for name in sorted(group)]

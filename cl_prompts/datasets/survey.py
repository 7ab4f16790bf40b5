"""Survey of a user's images: classes, split, unreadable files, copies."""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.bad_images import Look, Progress, look_at
from cl_prompts.datasets.classes import domain_names
from cl_prompts.datasets.csv_table import read_csv
from cl_prompts.datasets.fingerprint import check_apart, check_files
from cl_prompts.datasets.folders import holds_domains, read_any_folder, warn_unread
from cl_prompts.datasets.hub import has_test_part, hub_options, read_hf
from cl_prompts.datasets.source import Source
from cl_prompts.errors import InputError, first_of

PARTS = ("train.csv", "test.csv")
_NAMED = 3  # files that a sentence names
_COLOUR = 8  # largest difference between the channels of a grey image, in levels


@dataclass(frozen=True)
class Survey:
    """Images and classes of a folder or table.

    Example:
        >>> nothing = np.zeros(0, int)
        >>> Survey({"name": "folder"}, ("cat", "dog"), nothing, nothing, [], []).multi_label
        False

    Attributes:
        settings: section ``dataset`` of the recipe.
        classes: names of the classes.
        train_targets, test_targets: labels of the readable images, (n,) or (n, C).
        train, test: facts about these images.
        remarks: sentences on the split.
        broken: images that cannot be read.
        domains: sorted names of the domains; empty without domains.
    """

    settings: Mapping[str, Any]
    classes: tuple[str, ...]
    train_targets: np.ndarray
    test_targets: np.ndarray
    train: Sequence[Look]
    test: Sequence[Look]
    remarks: Sequence[str] = ()
    broken: Sequence[Look] = ()
    domains: Sequence[str] = ()

    @property
    def multi_label(self) -> bool:
        """Whether images may have several labels."""
        return self.train_targets.ndim == 2

    @property
    def shorter_side(self) -> int:
        """Median of the shorter sides of the training images, in pixels."""
        return int(statistics.median(min(look.height, look.width) for look in self.train))

    @property
    def colourful(self) -> bool:
        """Whether most training images are in colour."""
        return statistics.median(look.colour for look in self.train) > _COLOUR

    def as_whole(self) -> Survey:
        """Return the survey with all images for training."""
        return replace(
            self,
            train=[*self.train, *self.test],
            train_targets=np.concatenate([self.train_targets, self.test_targets]),
            test=[],
            test_targets=self.test_targets[:0],
            remarks=self.remarks[1:],  # the first tells of the share
        )

    def lines(self) -> list[str]:
        """Return the findings, one sentence per line."""
        kind = ", several labels per image" if self.multi_label else ""
        counts = f"{len(self.train)} training and {len(self.test)} test images"
        if not self.test:
            counts = f"{len(self.train)} images"
        found = [f"{len(self.classes)} classes{kind}, {counts}"]
        if self.domains:
            found.append(f"domains: {', '.join(self.domains)}")
        found += [*self.remarks, self._balance()]
        if self.broken:
            problems = first_of((look.problem for look in self.broken), _NAMED, "; ")
            found.append(
                f"warning: {len(self.broken)} images cannot be read and are left out: {problems}"
            )
        try:
            pixels = ({look.path: look.pixels for look in part} for part in (self.train, self.test))
            check_apart("this data set", *pixels)
        except InputError as error:
            found.append(f"warning: {error}")
        return found

    def _balance(self) -> str:
        targets, n = self.train_targets, len(self.classes)
        counts = targets.sum(axis=0) if self.multi_label else np.bincount(targets, minlength=n)
        fewest, most = int(counts.argmin()), int(counts.argmax())
        if counts[fewest] == counts[most]:
            return f"{counts[most]} training images of each class"
        return (
            f"training images of a class: {counts[fewest]} ({self.classes[fewest]}) to"
            f" {counts[most]} ({self.classes[most]})"
        )


def name_of(place: Path) -> str:
    """Return the name of a recipe for a folder or table.

    >>> name_of(Path("data/My photos/")), name_of(Path("birds.csv"))
    ('My_photos', 'birds')
    >>> name_of(Path("hf://uoft-cs/cifar100?label=fine_label"))
    'cifar100'
    """
    resolved = Path(hub_options(place).get("path", place)).resolve()
    if resolved.name in PARTS:
        resolved = resolved.parent
    stem = resolved.stem if resolved.suffix == ".csv" else resolved.name
    return re.sub(r"[^\w.-]+", "_", stem).strip("._-") or "images"


def survey(
    place: Path,
    *,
    test_percent: float = 20,
    seed: int = 0,
    progress: Progress | None = None,
    least: int = 2,
    whole: bool = False,
) -> Survey:
    """Read all images of a folder or table once.

    Args:
        place: a folder with ``train/<class>/*`` and ``test/<class>/*`` (or ``val``), with
            ``<class>/*`` alone, with a folder per domain above either, or with ``train.csv`` and
            ``test.csv``; a table with rows of ``path,label;label`` or ``path,label,domain``; or a
            data set of the Hugging Face hub, see
            :func:`~cl_prompts.datasets.hub.hub_options`.
        test_percent, seed: share and choice of the test images, if there is no test part.
        progress: called with the number of files read so far, and of all.
        least: smallest number of classes.
        whole: without a test part, take no image for one.

    Raises:
        InputError: there are no such images, or too few classes.
    """
    settings, source = _read(place, {"test_percent": test_percent, "split_seed": seed})
    share = f"there is no test part: {test_percent:g} % of the images of each class become one"
    remarks = [share] if "test_percent" in settings else []
    if len(source.classes) < least:
        raise InputError(f"{place} holds {len(source.classes)} classes: at least two are needed")
    if settings["name"] == "folder":
        warn_unread(place)
    found = _looked_at(settings, source, remarks, progress)
    return found.as_whole() if whole and "test_percent" in settings else found


def _read(place: Path, split: Mapping[str, Any]) -> tuple[dict[str, object], Source]:
    """Return the section ``dataset`` for images, and these; ``split`` is for a single part."""
    on_hub = hub_options(place)
    if on_hub:
        options: dict[str, Any] = {**on_hub, **({} if has_test_part(on_hub) else split)}
        return {"name": "hf", **options}, read_hf(Path(), **options)
    if not place.exists():
        raise InputError(f"there is no folder or table {place}")
    if place.name in PARTS:
        place = place.parent
    root = {"root": str(place.resolve())}
    if place.is_file():
        return {"name": "csv", **root, **split}, read_csv(place, **split)
    if (place / PARTS[0]).is_file():
        return {"name": "csv", **root}, read_csv(place)
    parted = any((place / part).is_dir() for part in ("train", "test", "val"))
    options = {} if parted else dict(split)
    # Both parts have the same layout.
    part = place / "train" if parted else place
    if part.is_dir() and holds_domains(part):
        options["domains"] = True
    return {"name": "folder", **root, **options}, read_any_folder(place, **options)


def _looked_at(
    settings: dict[str, object], source: Source, remarks: list[str], progress: Progress | None
) -> Survey:
    train, test = source.parts
    check_files("this data set", train.files, test.files)
    looks = look_at([*train.files, *test.files], progress)
    n = len(train)
    readable = np.array([not look.problem for look in looks])
    broken = [look for look in looks if look.problem]
    if broken:
        settings["on_bad_image"] = "skip"
    return Survey(
        settings,
        source.classes,
        train_targets=train.targets[readable[:n]],
        test_targets=test.targets[readable[n:]],
        train=[look for look in looks[:n] if not look.problem],
        test=[look for look in looks[n:] if not look.problem],
        remarks=remarks,
        broken=broken,
        domains=domain_names(train.domains),
    )

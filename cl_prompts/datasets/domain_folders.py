"""Image folders (``<class>/*`` or ``<domain>/<class>/*``), and DomainNet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from cl_prompts.datasets.files import LayoutError, check_listed, table
from cl_prompts.datasets.folders import class_folders, scan_images
from cl_prompts.datasets.source import Part, Source, numbered
from cl_prompts.errors import InputError, unknown

#: ends of the names of DomainNet's lists
_LISTS = ("_train.txt", "_test.txt")


def read_any_folder(
    folder: Path,
    test_percent: float | None = None,
    split_seed: int = 0,
    domains: bool | str = False,
    leave_out: str | Sequence[str] = (),
) -> Source:
    """Read class folders in ``train`` and ``test`` (or ``val``), or split ``<class>/*`` at random.

    Classes and files are sorted. With ``domains``, the layout is ``train/<domain>/<class>/*`` and
    ``test/<domain>/<class>/*`` (or ``val``), or ``<domain>/<class>/*`` alone. A class has the same
    name in all domains, and may be missing in some.

    Args:
        test_percent: percent of each class's images (with ``domains``, in each domain) that become
            test images, at least one, if there is no test folder.
        split_seed: seed of this choice.
        domains: whether there are domain folders; or the name of the single domain of all images.
        leave_out: classes whose folders are not read.

    Raises:
        LayoutError: a missing or empty folder.
        InputError: a class with too few images to split, an unknown class in ``leave_out``, or a
            seed without ``test_percent``.
    """
    if test_percent is None and split_seed != 0:
        raise InputError("split_seed needs test_percent: this folder has its own test images")
    roots = [folder] if test_percent is not None else both_parts(folder)
    leave_out = [leave_out] if isinstance(leave_out, str) else leave_out
    if leave_out:
        known = sorted({name for root in roots for _, name in _places(root, domains, ())})
        for name in leave_out:
            if name not in known:
                raise unknown("class to be left out", str(name), known)
    places = [_places(root, domains, leave_out) for root in roots]
    parts, classes = numbered(map(_scanned, roots, places))
    if test_percent is not None:
        parts = [*parts[0].split(classes, test_percent, split_seed)]
    if isinstance(domains, str):
        parts = [replace(part, domains=np.full(len(part.labels), domains)) for part in parts]
    return Source(parts, classes)


def both_parts(folder: Path) -> list[Path]:
    """Return the folders ``train``, and ``test`` or ``val``.

    Raises:
        LayoutError: a missing folder.
    """
    train = folder / "train"
    test = folder / ("test" if (folder / "test").is_dir() else "val")
    for part, name in ((train, "train"), (test, "test or val")):
        if not part.is_dir():
            raise LayoutError(f"it has no folder {name}")
    return [train, test]


def _places(root: Path, domains: bool | str, leave_out: Sequence[str]) -> list[tuple[str, str]]:
    """List domain (or "") and class of each class folder."""
    above = class_folders(root) if domains is True else [""]
    return [(domain, name) for domain in above for name in class_folders(root / domain, leave_out)]


def _scanned(root: Path, places: Sequence[tuple[str, str]]) -> Part:
    """List all images of class folders, by domain, class and file name."""
    found = scan_images([root / domain / name for domain, name in places])
    domains, classes = np.array(places)[found.labels].T
    return replace(found, labels=classes, domains=domains if places[0][0] else None)


def read_domainnet(folder: Path) -> Source:
    """Read DomainNet (Peng et al., ICCV 2019) by its official lists.

    ``<domain>_train.txt`` and ``<domain>_test.txt`` have rows ``<domain>/<class>/<file> <label>``.
    Each domain needs both lists. Images are in the order of the lists.

    Raises:
        LayoutError: missing lists or images, or a label of two classes.
    """
    domains = sorted(
        {path.name.removesuffix(end) for end in _LISTS for path in folder.glob(f"*{end}")}
    )
    if not domains:
        raise LayoutError(f"{folder} has no list <domain>{_LISTS[0]}")
    names: dict[str, str] = {}
    found = [_listed(folder, domains, ending, names) for ending in _LISTS]
    return Source(*numbered(found, [names[number] for number in sorted(names, key=int)]))


def _listed(folder: Path, domains: Sequence[str], ending: str, names: dict[str, str]) -> Part:
    """Read the images of these lists, and add the class of each label to ``names``."""
    found: list[tuple[str, str, str]] = []
    for domain in domains:
        listing = folder / f"{domain}{ending}"
        rows = table(listing, 2, ints=True)
        for path, number in rows:
            name = Path(path).parent.name
            if names.setdefault(number, name) != name:
                raise LayoutError(
                    f"{listing} gives label {number} to {name}, but it belongs to {names[number]}"
                )
            found.append((str(folder / path), name, domain))
        check_listed([str(folder / path) for path, _ in rows], str(listing))
    paths, classes, of_each = zip(*found, strict=True)
    return Part(paths, np.array(classes), np.array(of_each))

"""Image folders with domains (``<domain>/<class>/*``), and DomainNet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.datasets.files import LayoutError, check_listed, table
from cl_prompts.datasets.folders import ListedImages, class_folders, scan_images
from cl_prompts.datasets.images import ImageCache
from cl_prompts.datasets.readers import Source, both_parts, read_folder, split_rows
from cl_prompts.errors import InputError, unknown

#: ends of the names of DomainNet's lists
_LISTS = ("_train.txt", "_test.txt")


def read_any_folder(
    folder: Path,
    cache: ImageCache | None,
    test_percent: float | None = None,
    split_seed: int = 0,
    domains: bool | str = False,
    leave_out: str | Sequence[str] = (),
) -> Source:
    """Read class folders, optionally within domain folders.

    Without ``domains``, see :func:`~cl_prompts.datasets.readers.read_folder`. With ``domains``, the
    layout is ``train/<domain>/<class>/*`` and ``test/<domain>/<class>/*`` (or ``val``), or
    ``<domain>/<class>/*`` alone. A class has the same name in all domains, and may be missing in
    some.

    Args:
        test_percent: percent of each class's images (with ``domains``, in each domain) that become
            test images, at least one, if there is no test folder.
        split_seed: seed of this choice.
        domains: whether there are domain folders; or the name of the single domain of all images.
        leave_out: classes whose folders are not read.

    Raises:
        LayoutError: a missing or empty folder.
        InputError: a class with too few images to split, an unknown class in ``leave_out``, a seed
            without ``test_percent``, or a class with a folder in only one part.
    """
    if test_percent is None and split_seed != 0:
        raise InputError("split_seed needs test_percent: this folder has its own test images")
    leave_out = [leave_out] if isinstance(leave_out, str) else leave_out
    if leave_out:
        parts = both_parts(folder) if test_percent is None else (folder,)
        _check_left_out(parts, leave_out, domains is True)
    if not isinstance(domains, bool):
        source = read_folder(folder, cache, test_percent, split_seed, leave_out)
        sides = [np.full(len(part), domains) for part in (source.train, source.test)]
        return replace(source, train_domains=sides[0], test_domains=sides[1])
    if not domains:
        return read_folder(folder, cache, test_percent, split_seed, leave_out)
    if test_percent is None:
        return named_source((_scanned(part, leave_out) for part in both_parts(folder)), cache)
    found = _scanned(folder, leave_out)
    rows = split_cells(found.labels, found.domains, test_percent, split_seed)
    return named_source(found.divided(rows), cache)


def _check_left_out(parts: Sequence[Path], leave_out: Sequence[str], domains: bool) -> None:
    above = [part / name for part in parts for name in class_folders(part)] if domains else parts
    known = {name for folder in above for name in class_folders(folder)}
    for name in leave_out:
        if name not in known:
            raise unknown("class to be left out", str(name), sorted(known))


def split_cells(
    classes: Sequence[str] | np.ndarray, domains: Any, test_percent: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into training and test rows, for each class in each domain.

    See :func:`~cl_prompts.datasets.readers.split_rows`.
    """
    pairs = list(zip(map(str, domains), map(str, classes), strict=True))
    # Pairs, since paths may be ambiguous ("c" + "a/b", "c/a" + "b"). Their order determines the
    # test images.
    cells = sorted(set(pairs), key=lambda pair: ("/".join(pair), pair))
    number = {pair: position for position, pair in enumerate(cells)}
    of_each = np.array([number[pair] for pair in pairs])
    return split_rows(of_each, test_percent, seed, ["/".join(pair) for pair in cells])


def _scanned(part: Path, leave_out: Sequence[str]) -> ListedImages:
    """List all images of domain folders, by domain, class and file name."""
    places = [
        (domain, name)
        for domain in class_folders(part)
        for name in class_folders(part / domain, leave_out)
    ]
    found = scan_images([part / domain / name for domain, name in places])
    domains, classes = np.array(places)[found.labels].T
    return replace(found, labels=classes, domains=domains)


def named_source(
    parts: Iterable[ListedImages], cache: ImageCache | None, classes: Sequence[str] | None = None
) -> Source:
    """Make a :class:`Source` of images labelled by the names of their classes.

    Args:
        parts: training and test images.
        cache: see :class:`~cl_prompts.datasets.images.FileImages`.
        classes: class names by label; by default all that occur, sorted.
    """
    parts = list(parts)
    labels = [part.labels.tolist() for part in parts]
    names = classes or sorted({*labels[0], *labels[1]})
    label = {name: position for position, name in enumerate(names)}
    numbers = (np.array([label[name] for name in own]) for own in labels)
    found = (replace(part, labels=own) for part, own in zip(parts, numbers, strict=True))
    return Source.of(found, names, cache)


def read_domainnet(folder: Path, cache: ImageCache | None) -> Source:
    """Read DomainNet (Peng et al., ICCV 2019) by its official lists.

    ``<domain>_train.txt`` and ``<domain>_test.txt`` have rows ``<domain>/<class>/<file> <label>``.
    Each domain needs both lists. Images are in the order of the lists.

    Raises:
        LayoutError: missing lists or images, an image of another domain than its list, or a label
            of two classes.
    """
    domains = sorted(
        {path.name.removesuffix(end) for end in _LISTS for path in folder.glob(f"*{end}")}
    )
    if not domains:
        raise LayoutError(f"{folder} has no list <domain>{_LISTS[0]}")
    names: dict[str, str] = {}
    parts = [_listed(folder, domains, ending, names) for ending in _LISTS]
    classes = [names[number] for number in sorted(names, key=int)]
    return named_source(parts, cache, classes)


def _listed(
    folder: Path, domains: Sequence[str], ending: str, names: dict[str, str]
) -> ListedImages:
    """Read the images of these lists, and add the class of each label to ``names``."""
    found: list[tuple[str, str, str]] = []
    for domain in domains:
        listing = folder / f"{domain}{ending}"
        rows = table(listing, 2, ints=True)
        for path, number in rows:
            *above, name, _ = ("", *Path(path).parts)
            if above != ["", domain]:
                raise LayoutError(f"{listing} lists {path}, which is not {domain}/<class>/<file>")
            if names.setdefault(number, name) != name:
                raise LayoutError(
                    f"{listing} gives label {number} to {name}, but it belongs to {names[number]}"
                )
            found.append((str(folder / path), name, domain))
        check_listed([str(folder / path) for path, _ in rows], str(listing))
    paths, classes, of_each = zip(*found, strict=True)
    return ListedImages(paths, np.array(classes), np.array(of_each))

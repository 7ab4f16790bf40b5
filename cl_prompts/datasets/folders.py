"""Image folders (``<class>/*`` or ``<domain>/<class>/*``), and DomainNet."""

import os
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from mimetypes import guess_type
from pathlib import Path

import numpy as np
from torchvision.datasets.folder import IMG_EXTENSIONS

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.decoding import SUFFIXES, FileImages, remedy
from cl_prompts.datasets.files import LayoutError, check_listed, table
from cl_prompts.datasets.source import Source, numbered, source_of
from cl_prompts.errors import InputError

#: Usual names of training and test folders, in lower case
_PARTS = (("train", "training"), ("test", "testing", "val", "valid", "validation"))


def read_any_folder(
    folder: Path,
    test_percent: float | None = None,
    split_seed: int = 0,
    domains: bool | str = False,
    groups: bool = False,
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
        groups: whether the class folders lie in folders of similar classes, as in
            ``train/<group>/<class>/*``.

    Raises:
        LayoutError: a missing or empty folder.
        InputError: a class with too few images to split.
    """
    test = folder / ("test" if (folder / "test").is_dir() else "val")
    roots = [folder] if test_percent is not None else [folder / "train", test]
    for root, name in zip(roots, ("train", "test or val"), strict=False):
        if not root.is_dir():
            raise LayoutError(f"it has no folder {name}")
    if groups and domains:
        raise InputError("folders of domains cannot be groups: leave out domains or groups")
    scanned = [scan_classes(root, domains or groups) for root in roots]
    pairs: list[tuple[str, str]] = []
    for part in scanned if groups else ():
        assert part.domains is not None
        pairs += zip(part.targets.tolist(), part.domains.tolist(), strict=True)
        part.domains = None
    return source_of(*numbered(scanned), test_percent, split_seed, pairs)


def scan_classes(root: Path, domains: bool | str) -> ImageSet:
    """List all images of class folders, by domain, class and file name; labels are names."""
    above = class_folders(root) if domains is True else [""]
    places = [(domain, name) for domain in above for name in class_folders(root / domain)]
    found = scan_images([root / domain / name for domain, name in places])
    of_domain, classes = np.array(places)[found.targets].T
    if not domains:
        return replace(found, targets=classes)
    named = np.full(len(classes), domains) if isinstance(domains, str) else of_domain
    return replace(found, targets=classes, domains=named)


def class_folders(parent: Path) -> tuple[str, ...]:
    """List the folders in ``parent``, sorted, without hidden ones.

    Raises:
        LayoutError: no folders, or folders that are named like the training and the test part of a
            data set.
    """
    names, has_images = _contents(parent)
    if not names:
        above = " but images: use its parent, with one folder per class"
        raise LayoutError(f"{parent} has no class folders{above * has_images}")
    train, test = ([name for name in names if name.lower() in part] for part in _PARTS)
    if train and test:
        raise LayoutError(
            f"{parent} has {train[0]!r} and {test[0]!r}, which look like parts of a data set, not"
            " classes or domains: name them 'train' and 'test' (or 'val'), and remove test_percent"
        )
    return names


def holds_domains(parent: Path) -> bool:
    """Return whether the folders in ``parent`` look like domains with class folders.

    They do if they have no images directly inside, and all share at least half of the classes, two
    or more.

    Raises:
        LayoutError: no folders.
    """
    found = [_contents(parent / domain) for domain in class_folders(parent)]
    if len(found) < 2 or any(has_images for _, has_images in found):
        return False
    classes = [set(folders) for folders, _ in found]
    shared = set.intersection(*classes)
    return len(shared) >= max(2, len(set.union(*classes)) / 2)


def _contents(folder: Path) -> tuple[tuple[str, ...], bool]:
    """Return the visible folders in a folder, sorted, and whether images lie beside them."""
    inside = [place for place in folder.iterdir() if not place.name.startswith(".")]
    folders = sorted(place.name for place in inside if place.is_dir())
    return tuple(folders), any(map(_is_image, inside))


def scan_images(folders: Sequence[Path]) -> ImageSet:
    """List the image files of each folder at any depth, without hidden files and folders.

    Labels are the positions of their folders. Files are sorted by folder, then by the file's own
    folder, then by name. Links to folders inside are not followed.

    Raises:
        LayoutError: a folder without images.
    """
    paths: list[str] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        found = _visible(folder)
        images = sorted(map(str, filter(_is_image, found)), key=os.path.split)
        if not images:
            facts = "; ".join([f"has no images ({' '.join(IMG_EXTENSIONS)})", *_unread(found)])
            raise LayoutError(f"{folder} {facts}")
        paths += images
        labels += [label] * len(images)
    return ImageSet(FileImages(paths), np.array(labels))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES


def _visible(folder: Path) -> list[Path]:
    """List all files at any depth, without hidden files and folders."""
    found = []
    for place, inner, names in os.walk(folder):
        # os.walk descends into the folders in this list.
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    return found


def _unread(files: Iterable[Path]) -> list[str]:
    """Count the files that are not read by suffix, each with what to do."""
    ends = Counter(file.suffix.lower() for file in files if not _is_image(file))
    counts = []
    for end, n in ends.most_common():
        kind = (guess_type(f"file{end}")[0] or "image").partition("/")[0]
        hint = f": {remedy(end)}" if end and kind == "image" else ""
        counts.append(f"{n} {end or 'without suffix'} not read{hint}")
    return counts


def warn_unread(folder: Path) -> None:
    """Warn of the files below a folder that are not read as images, by suffix."""
    if counts := _unread(_visible(folder)):
        warnings.warn("; ".join(counts), stacklevel=2)


def read_domainnet(folder: Path) -> Source:
    """Read DomainNet (Peng et al., ICCV 2019) by its official lists.

    ``<domain>_train.txt`` and ``<domain>_test.txt`` have rows ``<domain>/<class>/<file> <label>``.
    Images are in the order of the lists.

    Raises:
        LayoutError: missing lists or images.
    """
    parts = []
    names: dict[int, str] = {}
    for ending in ("_train.txt", "_test.txt"):
        paths: list[str] = []
        classes: list[str] = []
        domains: list[str] = []
        for listing in sorted(folder.glob(f"*{ending}")):
            rows = table(listing)
            paths += [str(folder / path) for path, _ in rows]
            own = [Path(path).parent.name for path, _ in rows]
            names |= {int(label): name for (_, label), name in zip(rows, own, strict=True)}
            classes += own
            domains += [listing.name.removesuffix(ending)] * len(rows)
        if not paths:
            raise LayoutError(f"{folder} has no list <domain>{ending}")
        check_listed(paths, f"lists <domain>{ending}")
        found = ImageSet(FileImages(paths), np.array(classes), domains=np.array(domains))
        parts.append(found)
    return Source(*numbered(parts, [names[number] for number in sorted(names)]))

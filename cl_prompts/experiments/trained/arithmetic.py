"""Addition and subtraction of closed-form models, with their ledgers of images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.closed_form.held_out_scores import learn
from cl_prompts.closed_form.sums import rearranged, zero
from cl_prompts.datasets.classes import alike
from cl_prompts.datasets.decoding import decode
from cl_prompts.datasets.files import ImageFile
from cl_prompts.datasets.fingerprint import file_hash, pixels_hash
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.errors import InputError, RunError, first_of
from cl_prompts.experiments.trained.card import Card
from cl_prompts.experiments.trained.ledger import Ledger, hashes_of
from cl_prompts.experiments.trained.predicting import image_files
from cl_prompts.models.prototype import PrototypeViT

#: an image: a file, or a tensor (3, size, size) in [0, 1]
Item = ImageFile | Tensor
#: called with the number of images so far, and of all
Progress = Callable[[int, int], None]
#: images as users give them: one file, several, a folder, a table, or a tensor (n, 3, size, size)
Images = Tensor | Sequence[ImageFile | Path] | str | Path
#: images of a forward pass that adds to sums; the last bits of features depend on this number
BATCH = 16


@dataclass(frozen=True)
class Sums:
    """A closed-form classifier as a value: what it has learned, of which images.

    Attributes:
        network: classifier on frozen features, which no method here changes.
        ledger: its images.
        classes: names of its columns.
        build: makes an untrained network of so many classes.
    """

    network: PrototypeViT
    ledger: Ledger
    classes: tuple[str, ...]
    build: Callable[[int], PrototypeViT]

    def with_classes(self, classes: Sequence[str]) -> Sums:
        """Return the same sums with other columns, matched by name."""
        known = {name: place for place, name in enumerate(self.classes)}
        places = [known.get(name, -1) for name in classes]
        network = self.build(len(classes)).to(self.network.seen.device).eval()
        state = self.network.head.state_dict()
        network.head.load_state_dict(rearranged(self.network.head, state, places))
        network.seen.copy_(network.head.seen)
        return Sums(network, self.ledger.relabelled(places), tuple(classes), self.build)

    def empty(self, classes: Sequence[str] | None = None) -> Sums:
        """Return sums over no image, with the random projections of this model."""
        ledger = self.ledger.without(np.arange(len(self.ledger)))
        blank = Sums(self.network, ledger, self.classes, self.build)
        blank = blank.with_classes(self.classes if classes is None else classes)
        zero(blank.network.head)
        blank.network.seen.zero_()
        return blank

    def plus(self, other: Sums, most: int | None) -> Sums:
        """Return the sums over the images of both.

        Args:
            other: sums over other images, of a model with equal settings.
            most: features to store; None for all.

        Raises:
            InputError: classes whose names hardly differ, or random projections that differ.
        """
        new = [name for name in other.classes if name not in self.classes]
        classes = [*self.classes, *new]
        check_classes(classes)
        whole, part = self.with_classes(classes), other.with_classes(classes)
        whole.network.head.add(part.network.head)
        return whole.with_ledger(whole.ledger.joined(part.ledger, most))

    def minus(self, rows: np.ndarray, features: Tensor) -> Sums:
        """Return the sums without some images, and without classes that have no other image.

        Args:
            rows: of the ledger.
            features: of these images, (n, dim).
        """
        whole, part = self.with_classes(self.classes), self.empty()
        part.add(features, self.ledger.labels[rows])
        head = whole.network.head
        head.subtract(part.network.head)
        left = [self.classes[column] for column in (head.count > 0).nonzero().flatten().tolist()]
        return whole.with_ledger(self.ledger.without(rows)).with_classes(left)

    def with_ledger(self, ledger: Ledger) -> Sums:
        """Return the same sums as those of other images."""
        self.network.seen.copy_(self.network.head.seen)
        return Sums(self.network, ledger, self.classes, self.build)

    def add(self, features: Tensor, targets: np.ndarray) -> None:
        """Add samples to the network in place: (n, dim), and labels as in the ledger."""
        head = self.network.head
        learn(head, features.to(head.count.device), torch.from_numpy(targets))

    def of_images(
        self,
        items: Sequence[Item],
        names: Sequence[Sequence[str]],
        transform: ImageTransform | None,
        most: int | None,
        progress: Progress | None = None,
    ) -> Sums:
        """Return the sums over some images alone: one forward pass for each.

        Args:
            items: the images.
            names: classes of each.
            transform: makes an input of a decoded file.
            most: features to store; None for all.
            progress: called with the number of images so far, and of all.

        Raises:
            InputError: an image that is known, or twice among these.
            RunError: a file that cannot be read, or features that are not finite.
        """
        classes = [*self.classes, *sorted({n for own in names for n in own} - {*self.classes})]
        check_classes(classes)
        hashes = hashes_of([content_of(item) for item in items])
        self.check_new(hashes, items)
        part = self.empty(classes)
        column = {name: place for place, name in enumerate(classes)}
        if self.network.multi_label:
            targets = np.zeros((len(names), len(classes)), np.int8)
            for row, own in enumerate(names):
                targets[row, [column[name] for name in own]] = 1
        else:
            targets = np.array([column[name] for (name,) in names], dtype=np.int64)
        kept = np.arange(len(items))
        if most is not None and len(items) > most:
            kept = np.sort(np.random.default_rng(len(items)).permutation(len(items))[:most])
        stored = []
        for start in range(0, len(items), BATCH):
            some = slice(start, start + BATCH)
            features = features_of(self.network, items[some], transform)
            part.add(features, targets[some])
            stored.append(features[kept[(kept >= start) & (kept < start + BATCH)] - start].cpu())
            if progress is not None:
                progress(start + len(features), len(items))
        return part.with_ledger(Ledger(hashes, targets, kept, torch.cat(stored).numpy()))

    def find(self, items: Sequence[Item], *, every: bool) -> dict[int, Item]:
        """Return learned images among some, by row of the ledger.

        Args:
            items: the images.
            every: refuse images that were not learned.
        """
        hashes = hashes_of([content_of(item) for item in items])
        places = self.ledger.places(hashes).tolist()
        for number, item in enumerate(items):
            if places[number] < 0 and not isinstance(item, Tensor):
                # Of images in memory the ledger has hashes of pixels.
                pixels = hashes_of([pixels_hash(decode(item))])
                places[number] = int(self.ledger.places(pixels)[0])
        foreign = [number for number, place in enumerate(places) if place < 0]
        if foreign and every:
            which = first_of([named(items, number, hashes) for number in foreign], 2)
            raise InputError(
                f"{len(foreign)} of {len(items)} images were never learned by this model, or are"
                f" forgotten already: {which}"
            )
        return {place: item for place, item in zip(places, items, strict=True) if place >= 0}

    def features(self, rows: np.ndarray, given: Mapping[int, Item], card: Card) -> Tensor:
        """Return the features of learned images (n, dim): stored ones, or computed again.

        Args:
            rows: of the ledger.
            given: images by row.
            card: it knows the transform of files.

        Raises:
            InputError: neither features nor image of a row are there.
        """
        found = self.ledger.features_of(rows)
        missing = [row for row in rows.tolist() if row not in found]
        without = sum(row not in given for row in missing)
        if without:
            raise InputError(
                f"the features of {without} images to forget are not stored: give a folder that"
                " contains these images"
            )
        files = missing and not isinstance(given[missing[0]], Tensor)
        transform = card.transform() if files else None
        for start in range(0, len(missing), BATCH):
            some = missing[start : start + BATCH]
            new = features_of(self.network, [given[row] for row in some], transform)
            found |= dict(zip(some, new.cpu(), strict=True))
        return torch.stack([found[row] for row in rows.tolist()])

    def check_new(self, hashes: np.ndarray, items: Sequence[Item] = ()) -> None:
        """Refuse images that the model has learned, or that come twice."""
        n = len(hashes)
        places = self.ledger.places(hashes)
        again = np.flatnonzero(places >= 0).tolist()
        if again:
            raise InputError(
                f"{len(again)} of {n} images were learned before, the first is"
                f" {named(items, again[0], hashes)}:"
                f" {'leave them out' if len(items) else 'forget them in one of the models'}"
            )
        first: dict[bytes, int] = {}
        for row, content in enumerate(hashes):
            other = first.setdefault(content.tobytes(), row)
            if other != row:
                copy, original = (named(items, place, hashes) for place in (row, other))
                raise InputError(f"{copy} is a copy of {original}: leave one out")


def check_classes(classes: Sequence[str]) -> None:
    """Refuse names of classes that differ only in case, blanks or the encoding of accents."""
    pair = alike(classes)
    if pair is not None:
        raise InputError(
            f"class {pair[1]!r} differs from {pair[0]!r} only in case, blanks or the encoding of"
            " accents: rename one"
        )


@torch.no_grad()
def features_of(
    network: PrototypeViT, items: Sequence[Item], transform: ImageTransform | None
) -> Tensor:
    """Return the features of at most ``BATCH`` images, (n, dim) float32."""
    images = torch.stack([input_of(item, transform) for item in items])
    # Of full size: the last bits of features depend on the size of a batch.
    full = images[torch.arange(BATCH) % len(images)].to(network.seen.device)
    features = network.features(full)[: len(images)].float()
    if not bool(features.isfinite().all()):
        raise RunError("features are not finite: use precision fp32, or check the weights")
    return features


def input_of(item: Item, transform: ImageTransform | None) -> Tensor:
    """Return the input of the network for an image."""
    if isinstance(item, Tensor) or transform is None:
        assert isinstance(item, Tensor)
        return item
    return transform(decode(item))


def content_of(item: Any) -> str:
    """Return SHA-256 of an image, in hexadecimal: of its file, or of its size and pixels."""
    return pixels_hash(item) if isinstance(item, Tensor) else file_hash(item)


def named(items: Sequence[Item], row: int, hashes: np.ndarray) -> str:
    """Name an image for a message."""
    if row < len(items) and not isinstance(items[row], Tensor):
        return str(items[row])
    return f"image {row} (SHA-256 {hashes[row].tobytes().hex()[:12]})"


def items_of(images: Images) -> list[Item]:
    """Return images one by one.

    Raises:
        InputError: no images.
    """
    if isinstance(images, Tensor):
        return list(images)
    if isinstance(images, str | Path):
        return list(image_files([Path(images)]))
    if any(not isinstance(path, ImageFile | Path) for path in images):
        raise InputError("images are files, by their paths, or one tensor")
    return [str(path) if isinstance(path, Path) else path for path in images]


def names_of(labels: Sequence[str | Sequence[str]]) -> list[list[str]]:
    """Return the classes of each image."""
    return [[own] if isinstance(own, str) else list(own) for own in labels]


def check_labels(n: int, names: Sequence[Sequence[str]], *, multi_label: bool) -> None:
    """Refuse labels that do not fit ``n`` images."""
    if not n or n != len(names):
        raise InputError(f"there are {n} images and {len(names)} labels: give one for each image")
    if not multi_label and any(len(own) != 1 for own in names):
        raise InputError("this model has exactly one label per image")

"""Addition and subtraction of closed-form models, with their ledgers of images."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import one_hot

from cl_prompts.closed_form.held_out_scores import held_out_scores, learn
from cl_prompts.closed_form.sums import rearranged, zero
from cl_prompts.datasets.classes import check_names, label_matrix
from cl_prompts.datasets.decoding import decode, rgb_of
from cl_prompts.datasets.files import ImageFile, StoredImage
from cl_prompts.datasets.fingerprint import file_hash, pixels_hash
from cl_prompts.datasets.transforms import ImageTransform
from cl_prompts.errors import InputError, RunError, first_of
from cl_prompts.experiments.trained.card import Calibration, Card
from cl_prompts.experiments.trained.evaluating import Assessment, assessment
from cl_prompts.experiments.trained.ledger import Ledger, hashes_of, uniform
from cl_prompts.experiments.trained.predicting import image_files
from cl_prompts.metrics.confidence import confidence, temperature_of
from cl_prompts.models.prototype import PrototypeViT

#: an image: a file, pixels (3, h, w) uint8, or an input (3, size, size) of floats in [0, 1]
Item = ImageFile | Tensor
#: called with the number of images so far, and of all
Progress = Callable[[int, int], None]
#: one image as users give it: a path, a PIL image, or an array (h, w, 3) uint8
OneImage = ImageFile | Path | Image.Image | np.ndarray
#: images as users give them: one, several, a folder, a table, or a tensor (n, 3, size, size)
Images = Tensor | Sequence[OneImage] | OneImage
#: classes as users give them: of all images, or of each; an integer is the class of this name
Labels = str | int | Sequence[str | int | Sequence[str | int]]
#: images of a forward pass that adds to sums; the last bits of features depend on this number
BATCH = 16
_NAMES = (str, int, np.integer)


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
        check_names("this model", classes)
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
        check_names("this model", classes)
        hashes = contents_of(items)
        self.check_new(hashes, items)
        part = self.empty(classes)
        if self.network.multi_label:
            targets = label_matrix(names, classes).astype(np.int8)
        else:
            column = {name: place for place, name in enumerate(classes)}
            targets = np.array([column[name] for (name,) in names], dtype=np.int64)
        kept = uniform(len(items), most, len(items))
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
        hashes = contents_of(items)
        places = self.ledger.places(hashes).tolist()
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
        transform = card.transform_of([given[row] for row in missing])
        for start in range(0, len(missing), BATCH):
            some = missing[start : start + BATCH]
            new = features_of(self.network, [given[row] for row in some], transform)
            found |= dict(zip(some, new.cpu(), strict=True))
        return torch.stack([found[row] for row in rows.tolist()])

    def calibrated(self) -> tuple[Calibration, Assessment | None]:
        """Calibrate and assess by held-out scores of the stored sample of images.

        Samples are sorted by content, so that the order of learning does not matter.
        """
        ledger, several = self.ledger, self.network.multi_label
        order = np.lexsort(ledger.hashes[ledger.rows].T)
        labels = torch.from_numpy(ledger.labels[ledger.rows[order]])
        features = torch.from_numpy(ledger.features[order]).to(self.network.seen.device)
        head = self.network.head
        found = held_out_scores(head, features, labels, seed=0) if len(labels) else None
        if found is None:
            return Calibration(), None
        rows, logits = found
        wanted = labels[rows]
        temperature, seen = None, None
        if several:
            seen, targets = self.network.seen.cpu(), (wanted > 0).long()
        else:
            targets = one_hot(wanted, len(self.classes))
            # A class whose samples are all in one part has no score there.
            scored = logits.gather(1, wanted[:, None])[:, 0].isfinite()
            temperature = temperature_of(logits[scored], wanted[scored])
        sure = confidence(logits / (temperature or 1.0), seen).sort().values
        # With a single class it is infinite.
        own = Calibration(temperature=temperature, confidence=sure[sure.isfinite()].tolist())
        return own, assessment(logits, targets, self.classes, multi_label=several)

    def check_new(self, hashes: np.ndarray, items: Sequence[Item] = ()) -> None:
        """Refuse images that the model has learned, or that come twice."""
        n = len(hashes)
        places = self.ledger.places(hashes)
        again = np.flatnonzero(places >= 0).tolist()
        if again:
            hint = " by the other model: forget them in one of the models"
            if len(items):
                hint = f", the first is {named(items, again[0], hashes)}: leave them out"
            raise InputError(f"{len(again)} of {n} images were learned before{hint}")
        _, first, content = np.unique(hashes, axis=0, return_index=True, return_inverse=True)
        for copy in np.setdiff1d(np.arange(n), first)[:1].tolist():
            original = named(items, first[content.ravel()[copy]], hashes)
            raise InputError(f"{named(items, copy, hashes)} is a copy of {original}: leave one out")


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
    if isinstance(item, Tensor) and item.is_floating_point():
        return item
    assert transform is not None
    return transform(item if isinstance(item, Tensor) else decode(item))


def contents_of(items: Sequence[Item]) -> np.ndarray:
    """Return SHA-256 of each image, (n, 32): of its file, or of the size and pixels of a tensor."""
    found = [pixels_hash(i) if isinstance(i, Tensor) else file_hash(i) for i in items]
    return hashes_of(found)


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
        if not images.is_floating_point():
            raise InputError(
                "tensors have floats in [0, 1]: give 8-bit pixels as an array (h, w, 3)"
            )
        return list(images[None] if images.ndim == 3 else images)
    if isinstance(images, str | Path):
        return list(image_files([Path(images)]))
    if isinstance(images, StoredImage | Image.Image) or getattr(images, "ndim", 0) == 3:
        return [_item(images)]
    return [_item(image) for image in images]


def _item(image: object) -> Item:
    if isinstance(image, ImageFile | Path):
        return str(image) if isinstance(image, Path) else image
    if isinstance(image, Image.Image):
        try:
            return rgb_of(image)
        except (OSError, ValueError) as error:
            raise InputError(f"the PIL image cannot be used: {error}") from error
    if not isinstance(image, np.ndarray):
        raise InputError("images are paths, PIL images, arrays (h, w, 3) of uint8, or one tensor")
    if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.size:
        raise InputError(f"an array is {image.dtype} {image.shape}: give uint8 (h, w, 3)")
    return torch.from_numpy(image.transpose(2, 0, 1).copy())


def names_of(labels: Labels, n: int, *, multi_label: bool) -> list[list[str]]:
    """Return the classes of each of ``n`` images."""
    if isinstance(labels, Tensor | np.ndarray):
        labels = labels.tolist()
    if isinstance(labels, _NAMES):
        labels = [labels] * n
    if not n or n != len(labels):
        raise InputError(
            f"there are {n} images and {len(labels)} labels: give one for each image, or one class"
            " for all"
        )
    each = [[own] if isinstance(own, _NAMES) else list(own) for own in labels]
    for name in itertools.chain.from_iterable(each):
        if not isinstance(name, _NAMES) or isinstance(name, bool):
            raise InputError(f"{name!r} is not a class: give names or integers")
    names = [list(map(str, own)) for own in each]
    if not multi_label and any(len(own) != 1 for own in names):
        raise InputError("this model has exactly one label per image")
    return names

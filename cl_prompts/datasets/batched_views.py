"""Views of a whole batch, made on the device that trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cl_prompts.datasets.geometry import enlarged, inverse_affine, pad_crop_flip_each, warped
from cl_prompts.datasets.keyed import KeyedTransform, View
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.datasets.views import DeferredView, Key, defers_views


class BatchedTransform(KeyedTransform):
    """A keyed augmentation that leaves the geometry of a view to readers that make it in batches.

    To readers that say so (:func:`~cl_prompts.datasets.views.deferring_views`), as the training
    loops do, it gives the uint8 image and the parameters of its view; :class:`BatchedViews` makes
    images of a batch of them. To any other it gives the image, as its base does.

    Squares are cut, and AutoAugment's policy takes place, image by image before that: the
    operations of a policy differ from image to image.

    >>> transform = BatchedTransform(Augmentation(padding=1), 2, seed=0)
    >>> photo = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    >>> transform(photo, (7, 0)).shape
    torch.Size([3, 2, 2])
    """

    def __call__(self, image: Tensor, key: Key | None = None) -> Any:
        """The view of a uint8 image under a key, or the image and the parameters of that view."""
        if not defers_views() or image.dtype != torch.uint8:
            return super().__call__(image, key)
        view = self.draw(self.next_key() if key is None else key, *image.shape[-2:])
        image = self.prepared(image, view)
        return BatchedViews(self.augmentation, self.size, *image.shape[-2:]).packed(image, view)


@dataclass(frozen=True)
class BatchedViews:
    """Makes views of images of one size, each with parameters of its own.

    No view depends on the others of its batch: on a CPU it is :class:`KeyedTransform`'s, bit by
    bit, and elsewhere the same but for the rounding of a few grey levels (see
    :mod:`cl_prompts.datasets.geometry`).

    >>> make = BatchedViews(Augmentation(padding=1), size=2, height=2, width=2)
    >>> photo = torch.full((3, 2, 2), 255, dtype=torch.uint8)
    >>> views = [make.packed(photo, View(shift=shift)).packed for shift in ((1, 1), (0, 1))]
    >>> make(torch.stack(views))[:, 0].tolist()
    [[[1.0, 1.0], [1.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]]

    Args:
        augmentation: what is drawn of a view.
        size: side of the images that are made, in pixels.
        height, width: of the images that are given.
    """

    augmentation: Augmentation
    size: int
    height: int
    width: int

    def packed(self, image: Tensor, view: View) -> DeferredView:
        """An image (3, height, width) uint8 and the parameters of its view, as bytes."""
        numbers: list[float] = [*(view.area or ()), *(view.shift or ())]
        if self.augmentation.affine:
            assert view.affine is not None
            numbers += inverse_affine(view.affine, self.height, self.width).flatten().tolist()
        if self.augmentation.flip:
            numbers.append(view.flip)
        # As bytes behind the pixels, so that one tensor is sent.
        of_view = torch.tensor(numbers, dtype=torch.float32).view(torch.uint8)
        return DeferredView(torch.cat([image.flatten(), of_view]), self)

    def __call__(self, packed: Tensor) -> Tensor:
        """The views (n, 3, size, size), float32 in [0, 1], of what :meth:`packed` gave of each (n,
        bytes), on its device."""
        wanted = self.augmentation
        pixels = 3 * self.height * self.width
        images = packed[:, :pixels].reshape(-1, 3, self.height, self.width)
        counts = [4 * wanted.random_area, 2 * bool(wanted.padding), 6 * bool(wanted.affine)]
        counts.append(int(wanted.flip))
        # A clone, since a single row is contiguous wherever it begins, and floats must be aligned.
        numbers = packed[:, pixels:].flatten().clone().view(torch.float32)
        numbers = numbers.view(len(packed), sum(counts))
        # As packed() has laid them side by side; None for what this augmentation does not draw.
        areas, shifts, rows, flips = (
            part if part.shape[1] else None for part in numbers.split(counts, dim=1)
        )
        if rows is not None:
            images = warped(images, rows.reshape(-1, 2, 3))
        images = enlarged(images, self.size, areas)
        mirrored = None if flips is None else flips[:, 0]
        return pad_crop_flip_each(images, shifts, mirrored, wanted.padding)

"""What happens to one image between the file and the backbone: resize, augmentation, and the randomness behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

ImageTransform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Augmentation:
    """Transforms of one data set: uint8 image (3, height, width) in, float32 image (3, size, size) in [0, 1] out.

    Training follows the published order (code of Si-Blurry, Moon et al., ICCV 2023): AutoAugment at the image's native
    size, resize to a square, random crop after zero padding, horizontal flip. Testing resizes to the same square.
    Normalisation is the backbone's business.

    Deviations from the published code: one decision per image instead of one per batch; resizing happens in uint8, so
    pixels may differ by half a grey level; where ``square_crop`` is set, test images get the centre crop instead of a
    random one, whose accuracy cannot be repeated.

    Args:
        policy: AutoAugment policy; None leaves AutoAugment out.
        affine: small random rotation (10 degrees), shift (1/16 of the side) and scaling (0.9 to 1.1) at native size.
        padding: zero pixels added on each side before the random crop, at the final size; 0 leaves the crop out.
        flip: flip half of the images horizontally.
        square_crop: bring the shorter side to 256/224 of the final size and cut a square (random in training, central
            in testing) instead of squeezing the whole image into the square.
    """

    policy: AutoAugmentPolicy | None = None
    affine: bool = False
    padding: int = 4
    flip: bool = True
    square_crop: bool = False

    def train(self, size: int) -> ImageTransform:
        """The random transform of training images; it draws from torch's global generator (see ``PrivateRandom``)."""
        steps: list[ImageTransform] = []
        if self.square_crop:
            steps += [v2.Resize(_enlarged(size)), v2.RandomCrop(size)]
        if self.policy is not None:
            steps.append(v2.AutoAugment(self.policy))
        if self.affine:
            shift = (1 / 16, 1 / 16)
            steps.append(v2.RandomAffine(10, shift, (0.9, 1.1), interpolation=InterpolationMode.BILINEAR))
        steps.append(v2.Resize((size, size)))
        if self.padding:
            steps.append(v2.RandomCrop(size, padding=self.padding))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])

    def test(self, size: int) -> ImageTransform:
        """The fixed transform of test images."""
        fit = [v2.Resize(_enlarged(size)), v2.CenterCrop(size)] if self.square_crop else [v2.Resize((size, size))]
        return v2.Compose([*fit, v2.ToDtype(torch.float32, scale=True)])


def _enlarged(size: int) -> int:
    return round(size * 256 / 224)


class PrivateRandom:
    """Runs a random transform on random numbers of its own, so that it neither reads nor disturbs torch's global ones.

    Call k of a process is seeded with (``seed``, seed of the DataLoader worker or 0, k): the same sequence of calls
    gives the same images, whatever else draws random numbers. The transform may draw from torch's global CPU generator
    only, as those of ``torchvision.transforms.v2`` do; that generator is set aside during the call, so calls must not
    run in several threads at once.

    Each worker process of a DataLoader counts its own calls, and the copy in the main process stands still. To repeat
    or resume a run with workers, restore the loader's generator too, since the workers' seeds come from it.

    Args:
        transform: what to run.
        seed: any integer >= 0.
    """

    def __init__(self, transform: ImageTransform, *, seed: int) -> None:
        self.transform = transform
        self.seed = seed
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        worker = get_worker_info()
        key = (self.seed, 0 if worker is None else worker.seed, self.calls)
        self.calls += 1
        # Not torch.manual_seed: it would reseed the accelerators as well.
        generator = torch.default_generator
        outside = generator.get_state()
        generator.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        try:
            return self.transform(image)
        finally:
            generator.set_state(outside)

    def state_dict(self) -> dict[str, int]:
        """The number of calls so far."""
        return {"calls": self.calls}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where ``state_dict`` was taken; ``seed`` stays what it was given as."""
        self.calls = state["calls"]

"""From decoded image to model input: resizing, augmentation, and the randomness behind it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from cl_prompts.datasets.views import Key, current_key, view_seed
from cl_prompts.training.seeds import borrowed_generator

ImageTransform = Callable[[Tensor], Tensor]

AREA = (0.05, 1.0)  # of a random part, as a share of the image
ASPECT = (3 / 4, 4 / 3)  # of a random part, width to height


@dataclass(frozen=True)
class Augmentation:
    """Transforms of one data set: uint8 image (3, height, width) in, float32 image (3, size, size)
    in [0, 1] out.

    Training follows the published order (code of Si-Blurry, Moon et al., ICCV 2023): AutoAugment at
    the image's native size, resize to a square, random crop after zero padding, horizontal flip.
    Testing resizes to the same square. Normalisation is the backbone's business.

    Deviations from the published code: one decision per image instead of one per batch; resizing
    happens in uint8, so pixels may differ by half a grey level; where ``square_crop`` is set, test
    images get the centre crop instead of a random one, whose accuracy cannot be repeated.

    >>> photo = torch.zeros(3, 40, 60, dtype=torch.uint8)
    >>> Augmentation(padding=0).test(32)(photo).shape
    torch.Size([3, 32, 32])

    Args:
        policy: AutoAugment policy; None leaves AutoAugment out.
        affine: strength of a small random affine change at native size; 1 means rotation by up to
            10 degrees, shift by up to 1/16 of the side and scaling by up to a tenth, 0 leaves it
            out.
        padding: zero pixels added on each side before the random crop, at the final size; 0 leaves
            the crop out.
        flip: flip half of the images horizontally.
        square_crop: bring the shorter side to 256/224 of the final size and cut a square (random in
            training, central in testing) instead of squeezing the whole image into the square.
        random_area: train on a random part of the image, 5 to 100 % of its area with sides 3:4 to
            4:3, enlarged bilinearly to the final size; test on the central square of the image
            whose shorter side is brought bicubically to 256/224 of the final size (code of L2P,
            Wang et al., CVPR 2022, and of MULTI-LANE, De Min et al., CoLLAs 2024).
    """

    policy: AutoAugmentPolicy | None = None
    affine: float = 0
    padding: int = 4
    flip: bool = True
    square_crop: bool = False
    random_area: bool = False

    def train(self, size: int) -> ImageTransform:
        """The random transform of training images, which draws from torch's global generator."""
        # The published order: native size first, then the final size.
        steps: list[ImageTransform] = []
        if self.square_crop:
            steps += [v2.Resize(_enlarged(size)), v2.RandomCrop(size)]
        if self.policy is not None:
            steps.append(v2.AutoAugment(self.policy))
        if self.affine:
            bilinear = InterpolationMode.BILINEAR
            a = self.affine
            ranges = 10 * a, (a / 16, a / 16), (1 - a / 10, 1 + a / 10)
            steps.append(v2.RandomAffine(*ranges, interpolation=bilinear))
        if self.random_area:
            steps.append(v2.RandomResizedCrop(size, scale=AREA, ratio=ASPECT))
        else:
            steps.append(v2.Resize((size, size)))
        if self.padding:
            steps.append(v2.RandomCrop(size, padding=self.padding))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])

    def test(self, size: int) -> ImageTransform:
        """The fixed transform of test images."""
        how = InterpolationMode.BICUBIC if self.random_area else InterpolationMode.BILINEAR
        if self.cuts:
            fit = [v2.Resize(self.shorter_side(size), interpolation=how), v2.CenterCrop(size)]
        else:
            fit = [v2.Resize((size, size))]
        return v2.Compose([*fit, v2.ToDtype(torch.float32, scale=True)])

    @property
    def crop(self) -> Literal["whole", "square", "random_area"]:
        """How test images become squares, in the words of ``load_dataset``."""
        if self.random_area:
            return "random_area"
        return "square" if self.square_crop else "whole"

    @property
    def cuts(self) -> bool:
        """Whether parts of the image are cut away to make it a square."""
        return self.crop != "whole"

    def shorter_side(self, size: int) -> int:
        """Shorter side, in pixels, to which a test image is brought before its square is cut."""
        return _enlarged(size) if self.cuts else size

    def whole(self) -> Augmentation:
        """The same, with the whole image squeezed into the square, so that no object is lost."""
        return replace(self, square_crop=False, random_area=False)


def _enlarged(size: int) -> int:
    # Published: 256 for 224.
    return round(size * 256 / 224)


class PrivateRandom:
    """A random transform with random numbers of its own; torch's global generator stays untouched.

    >>> noisy = PrivateRandom(lambda image: image + torch.rand(()), seed=0)
    >>> again = PrivateRandom(lambda image: image + torch.rand(()), seed=0)
    >>> bool(noisy(torch.zeros(1)) == again(torch.zeros(1)))
    True

    Each call is seeded with ``seed`` and a key. Inside of
    :func:`~cl_prompts.datasets.views.viewing`, as in the training loops of this package, the key is
    the surrounding one: any number of DataLoader workers gives the same images, and a resumed run
    needs no state. Outside of any, each call takes a new key: the seed of the DataLoader worker (or
    0) and the number of calls before it. Each worker process counts its own calls; to repeat or
    resume such a run with workers, restore the loader's generator too, since the workers' seeds
    come from it.

    The transform may draw from torch's global CPU generator only, as those of
    ``torchvision.transforms.v2`` do; that generator is set aside during the call.

    Args:
        transform: of an image.
        seed: any integer >= 0.
    """

    def __init__(self, transform: ImageTransform, *, seed: int) -> None:
        self.transform = transform
        self.seed = seed
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image under the next call's seed."""
        with borrowed_generator() as generator:
            # Not torch.manual_seed: it would reseed the accelerators as well.
            generator.manual_seed(view_seed(self.seed, self._next_key()))
            return self.transform(image)

    def _next_key(self) -> Key:
        key = current_key()
        if key is not None:
            return key
        worker = get_worker_info()
        self.calls += 1
        return 0 if worker is None else worker.seed, self.calls - 1

    def state_dict(self) -> dict[str, int]:
        """The number of calls without a key so far."""
        return {"calls": self.calls}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Continue where ``state_dict`` was taken; ``seed`` stays what it was given as."""
        self.calls = state["calls"]

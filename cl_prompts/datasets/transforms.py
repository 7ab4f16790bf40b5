"""Transforms of decoded images: resizing, augmentation, and the seeds of augmented views."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.utils.data import get_worker_info
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from cl_prompts.datasets.collate import Key, current_key

ImageTransform = Callable[[Tensor], Tensor]
Crop = Literal["whole", "square", "random_area"]

AREA = (0.05, 1.0)  # of a random part, as a share of the image
ASPECT = (3 / 4, 4 / 3)  # of a random part, width to height


@dataclass(frozen=True)
class Augmentation:
    """Transforms of one data set, from decoded images to model input.

    They map a uint8 image (3, height, width) to a float32 image (3, size, size) in [0, 1].

    Training follows the published order (code of Si-Blurry, Moon et al., ICCV 2023): AutoAugment at
    the image's native size, resize to a square, random crop after zero padding, horizontal flip.
    Testing resizes to the same square. The backbone normalises.

    Deviations from the published code: random choices are made per image, not per batch. Resizing
    works in uint8, so pixels may differ by half a grey level. With ``crop="square"``, test images
    get the centre crop instead of a random one, so that accuracy can be reproduced.

    >>> photo = torch.zeros(3, 40, 60, dtype=torch.uint8)
    >>> Augmentation(padding=0).test(32)(photo).shape
    torch.Size([3, 32, 32])

    Args:
        policy: AutoAugment policy, or None.
        affine: strength of a small random affine transform at native size; 1 means rotation by up
            to 10 degrees, shift by up to 1/16 of the side and scaling by up to a tenth; 0 disables
            it.
        padding: zero pixels added on each side before the random crop, at the final size; 0
            disables the crop.
        flip: flip half of the images horizontally.
        crop: how an image becomes a square. "whole" resizes the whole image. "square" brings the
            shorter side to 256/224 of the final size and cuts a square (random in training, central
            in testing). "random_area" trains on a random part of the image, 5 to 100 % of its area
            with sides 3:4 to 4:3, enlarged bilinearly to the final size, and tests on the central
            square of the image whose shorter side is brought bicubically to 256/224 of the final
            size (code of L2P, Wang et al., CVPR 2022, and of MULTI-LANE, De Min et al., CoLLAs
            2024).
    """

    policy: AutoAugmentPolicy | None = None
    affine: float = 0
    padding: int = 4
    flip: bool = True
    crop: Crop = "whole"

    def train(self, size: int) -> ImageTransform:
        """Return the random transform of training images; it uses torch's global generator."""
        # The published order: native size first, then the final size.
        steps: list[ImageTransform] = []
        if self.crop == "square":
            steps += [v2.Resize(_enlarged(size)), v2.RandomCrop(size)]
        if self.policy is not None:
            steps.append(v2.AutoAugment(self.policy))
        if self.affine:
            bilinear = InterpolationMode.BILINEAR
            a = self.affine
            ranges = 10 * a, (a / 16, a / 16), (1 - a / 10, 1 + a / 10)
            steps.append(v2.RandomAffine(*ranges, interpolation=bilinear))
        if self.crop == "random_area":
            steps.append(v2.RandomResizedCrop(size, scale=AREA, ratio=ASPECT))
        else:
            steps.append(v2.Resize((size, size)))
        if self.padding:
            steps.append(v2.RandomCrop(size, padding=self.padding))
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        return v2.Compose([*steps, v2.ToDtype(torch.float32, scale=True)])

    def test(self, size: int) -> ImageTransform:
        """Return the fixed transform of test images."""
        if self.crop != "whole":
            bicubic = self.crop == "random_area"
            how = InterpolationMode.BICUBIC if bicubic else InterpolationMode.BILINEAR
            fit = [v2.Resize(_enlarged(size), interpolation=how), v2.CenterCrop(size)]
        else:
            fit = [v2.Resize((size, size))]
        return v2.Compose([*fit, v2.ToDtype(torch.float32, scale=True)])


def _enlarged(size: int) -> int:
    # Published: 256 for 224.
    return round(size * 256 / 224)


def view_seed(seed: int, key: Key) -> int:
    """Hash a seed and a key to the seed of one view, 0 to 2^63 - 1.

    The hash keeps similar seeds, and keys of different lengths, apart.
    """
    words = " ".join(str(int(part)) for part in (seed, *key))
    digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
    # 63 bits fit a signed number.
    return int.from_bytes(digest, "little") >> 1


class PrivateRandom:
    """A random transform with its own seed, which leaves torch's global generator unchanged.

    >>> noisy = PrivateRandom(lambda image: image + torch.rand(()), seed=0)
    >>> again = PrivateRandom(lambda image: image + torch.rand(()), seed=0)
    >>> bool(noisy(torch.zeros(1)) == again(torch.zeros(1)))
    True

    Each call is seeded with ``seed`` and a key. Inside :func:`viewing`, as in this package's
    training loops, it is the key of that context: the images do not depend on the number of
    DataLoader workers, and a resumed run needs no state. Elsewhere, each call takes a new key: the
    seed of the DataLoader worker (or 0) and the number of calls before it. Each worker counts its
    own calls. To repeat or resume such a run, restore ``calls`` and, with workers, the loader's
    generator, which seeds them.

    The transform may only draw from torch's global CPU generator, as those of
    ``torchvision.transforms.v2`` do. Its state is restored after the call.

    Args:
        transform: of an image.
        seed: any integer >= 0.
    """

    def __init__(self, transform: ImageTransform, *, seed: int) -> None:
        self.transform = transform
        self.seed = seed
        self.calls = 0

    def __call__(self, image: Tensor) -> Tensor:
        """Transform one image under the seed of this call."""
        key = current_key()
        if key is None:
            worker = get_worker_info()
            key = (0 if worker is None else worker.seed, self.calls)
            self.calls += 1
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would also reseed the accelerators.
            torch.default_generator.manual_seed(view_seed(self.seed, key))
            return self.transform(image)

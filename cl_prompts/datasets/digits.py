"""The embedded data sets: scikit-learn's handwritten digits, and scenes of several digits."""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.source import Source

CLASSES = tuple("0123456789")
SIDE = 64  # of a scene
CELL = 32  # side of a quarter, which has at most one digit
SIZES = (26, 28, 30, 32)  # of a digit


@cache  # parsing takes a while
def digits_images(size: int = 32) -> tuple[Tensor, np.ndarray]:
    """Return the 1797 digits of the UCI test set, enlarged bilinearly from 8x8 pixels.

    Returns:
        RGB images (1797, 3, size, size) uint8, light ink on a dark ground, and labels (1797,)
        int64.
    """
    # scikit-learn's load_digits without its import, which takes a second: 64 pixels and a label.
    (folder,) = find_spec("sklearn").submodule_search_locations  # type: ignore[union-attr, misc]
    raw = np.loadtxt(Path(folder, "datasets", "data", "digits.csv.gz"), delimiter=",")
    pixels = torch.from_numpy(raw[:, :-1]).reshape(-1, 1, 8, 8)
    grey = pixels.float() / 16  # (1797, 1, 8, 8) in [0, 1]
    large = F.interpolate(grey, size=(size, size), mode="bilinear", align_corners=False)
    images = (large * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
    return images, raw[:, -1].astype(np.int64)


def digits_split(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return training and test rows; every fifth image of each class is a test image.

    As in most uses of this set, training and test images share writers.
    """
    is_test = _ranks(labels) % 5 == 4
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)


def _ranks(labels: np.ndarray) -> np.ndarray:
    """Count the earlier images with the same label, (n,)."""
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        rank[rows] = np.arange(len(rows))
    return rank


def read_digits(folder: Path) -> Source:
    """Return the embedded digits; the argument is ignored."""
    digits = ImageSet(*digits_images())
    return Source([*map(digits.at, digits_split(digits.targets))], CLASSES)


def read_digit_domains(folder: Path) -> Source:
    """Return the embedded digits in four domains; the argument is ignored.

    A quarter of each class's training and test images is upright. The other quarters are rotated
    left by 90 degrees, inverted (dark ink on a light ground), and blurred (7 x 7 means). No digit
    is in two domains.
    """
    return Source([*map(_in_domains, read_digits(folder).parts)], CLASSES)


def _in_domains(part: ImageSet) -> ImageSet:
    # The rank of an image in its class determines its domain.
    domains = np.array(DOMAINS)[_ranks(part.targets) % len(DOMAINS)]
    changed = torch.as_tensor(part.images)[part.rows]
    for name, change in _CHANGES.items():
        rows = torch.from_numpy(domains == name)
        changed[rows] = change(changed[rows])
    return ImageSet(changed, part.targets, domains=domains)


def _blurred(images: Tensor) -> Tensor:
    means = F.avg_pool2d(images.float(), 7, stride=1, padding=3, count_include_pad=False)
    return means.round().to(torch.uint8)


_CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "rotated": lambda images: images.rot90(1, (2, 3)),
    "inverted": lambda images: 255 - images,
    "blurred": _blurred,
}
#: domains of ``digit_domains``
DOMAINS = ("upright", *_CHANGES)


def read_digit_scenes(folder: Path) -> Source:
    """Compose scenes of digits, equal on all machines but for rounding; the argument is ignored.

    A scene has 1 to 4 digits of different classes, each number equally often, in light ink on a
    dark ground. Digits are 26 to 32 pixels high, at random positions in different quarters. Test
    scenes use only the test digits of ``digits_split``, training scenes only the others. Each digit
    is used several times.

    Scores for reference: mean average precision (0.25 by chance) of a logistic regression per class
    on standardised features of the embedded ViT, 32 px images (64 px in brackets): class token 0.69
    (0.59), mean patch token 0.77 (0.65), all patch tokens 0.81. The same ViT with random weights
    reaches 0.71 (0.56), 0.76 (0.62) and 0.76: the scenes can test training, but cannot compare
    backbones.

    There are 1500 training and 500 test images (3, 64, 64) uint8.
    """
    labels = digits_images()[1]
    scaled = [digits_images(size)[0][:, 0].numpy() for size in SIZES]
    train, test = digits_split(labels)
    made = [(train, 1500, 0), (test, 500, 1)]
    return Source([ImageSet(*_compose(scaled, labels, *part)) for part in made], CLASSES)


def _compose(
    scaled: list[np.ndarray], digit_labels: np.ndarray, rows: np.ndarray, n: int, seed: int
) -> tuple[Tensor, np.ndarray]:
    """Compose n scenes (n, 3, 64, 64) of these rows, and their labels (n, 10).

    ``scaled[s]`` has all digits in size s.
    """
    of_digit = [rows[digit_labels[rows] == digit] for digit in range(10)]
    # RandomState gives the same numbers in every version of numpy; a Generator may not.
    rng = np.random.RandomState(seed)
    scenes = np.zeros((n, SIDE, SIDE), dtype=np.uint8)
    labels = np.zeros((n, 10), dtype=np.uint8)
    for scene, label in zip(scenes, labels, strict=True):
        # One to four different digits, each in its own quarter.
        quarters = rng.permutation(4)
        digits = rng.permutation(10)[: rng.randint(1, 5)]
        for digit, quarter in zip(digits, quarters, strict=False):
            choice = rng.randint(len(SIZES))
            free = CELL - SIZES[choice] + 1
            top, left = (CELL * np.array(divmod(quarter, 2)) + rng.randint(free, size=2)).tolist()
            place = scene[top : top + SIZES[choice], left : left + SIZES[choice]]
            candidates = of_digit[digit]
            place[:] = scaled[choice][candidates[rng.randint(len(candidates))]]
            label[digit] = 1
    return torch.from_numpy(scenes)[:, None].expand(-1, 3, -1, -1), labels

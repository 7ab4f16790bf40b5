"""Data sets of a few small images, and a stream of every scenario made of them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts import scenarios

N_CLASSES = 6


class Labelled(Dataset[Any]):
    """Images with a label each, or with a row of zeros and ones; ``reads`` counts those read."""

    def __init__(self, images: Tensor, targets: np.ndarray) -> None:
        self.images = images
        self.targets = targets
        self.reads = 0

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        self.reads += 1
        label = self.targets[index]
        return self.images[index], torch.tensor(label).float() if np.ndim(label) else int(label)


class Blobs(Labelled):
    """Images whose class is a colour pattern, which a head on a random ViT can learn.

    ``domains`` are names alone, which change no pixel.
    """

    def __init__(
        self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0, size: int = 16
    ) -> None:
        rng = np.random.default_rng(seed)
        patterns = np.random.default_rng(99).random((n_classes, 3, size, size))
        targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(targets)
        noise = rng.random((n, 3, size, size))
        super().__init__(torch.from_numpy(0.8 * patterns[targets] + 0.2 * noise).float(), targets)
        self.domains = np.array(["art", "photo", "sketch"])[np.arange(n) % TASKS]


class Scenes(Labelled):
    """Images of two coloured halves, each colour a class, so with one or two labels."""

    def __init__(self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        colours = np.random.default_rng(7).random((n_classes, 3))
        targets = np.zeros((n, n_classes), dtype=np.uint8)
        images = np.full((n, 3, 16, 16), 0.5)
        for i in range(n):
            for place, c in enumerate(rng.permutation(n_classes)[: rng.integers(1, 3)]):
                targets[i, c] = 1
                images[i, :, :, 8 * place : 8 * place + 8] = colours[c][:, None, None]
        images += 0.05 * rng.random(images.shape)
        super().__init__(torch.from_numpy(images).float(), targets)


class Riddles(Labelled):
    """Images that a linear head on :func:`lively_vit` half understands, and prompts on it do.

    Classes 2 p and 2 p + 1 share a background p and two marks, one in the left half and one in the
    right, each drawn as it is or inverted. The marks of an even class agree, those of an odd one do
    not: the exclusive or, which no linear function of the marks can tell.
    """

    def __init__(
        self, n: int, n_classes: int = N_CLASSES, *, seed: int = 0, size: int = 16
    ) -> None:
        rng = np.random.default_rng(seed)
        fixed = np.random.default_rng(7)
        half = size // 2
        backgrounds = fixed.random((n_classes // 2, 3, size, size))
        marks = fixed.normal(size=(n_classes // 2, 3, size, size))
        targets = np.arange(n, dtype=np.int64) % n_classes
        rng.shuffle(targets)
        sides = np.ones((n, 1, 1, size))
        left = rng.integers(0, 2, n) * 2 - 1
        right = np.where(targets % 2 == 0, left, -left)
        sides[..., :half] = left[:, None, None, None]
        sides[..., half:] = right[:, None, None, None]
        pair = targets // 2
        images = 0.25 + 0.5 * backgrounds[pair] + 0.2 * sides * marks[pair]
        images += 0.1 * rng.normal(size=(n, 3, size, size))
        super().__init__(torch.from_numpy(images).float().clamp(0, 1), targets)


#: images of a stream, of its test set, and the tasks that they come in
TRAIN = 72
TEST = 30
TASKS = 3

#: scenario -> its benchmark on given data
BENCHMARKS: dict[str, Callable[..., Any]] = {
    "si_blurry": lambda train, test: scenarios.si_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "i_blurry": lambda train, test: scenarios.i_blurry_benchmark(
        train, test, n_tasks=TASKS, seed=3
    ),
    "disjoint": lambda train, test: scenarios.disjoint_benchmark(train, test, n_tasks=TASKS),
    "class_incremental": lambda train, test: scenarios.class_incremental_benchmark(
        train, test, n_tasks=TASKS
    ),
    "domain_incremental": lambda train, test: scenarios.domain_incremental_benchmark(
        train, test, domain_order="shuffled"
    ),
    "domain_incremental announced=false": (
        lambda train, test: scenarios.domain_incremental_benchmark(train, test, announced=False)
    ),
    "mlcil": lambda train, test: scenarios.mlcil_benchmark(train, test, protocol="B0-C2"),
    "si_blurry_multi_label": lambda train, test: scenarios.si_blurry_multi_label_benchmark(
        train, test, n_tasks=TASKS
    ),
}
MULTI_LABEL_SCENARIOS = ("mlcil", "si_blurry_multi_label")
#: those that announce the boundaries of their tasks
ANNOUNCED = ("class_incremental", "domain_incremental", "mlcil")


def benchmark(scenario: str = "si_blurry", *, train: int = TRAIN, test: int = TEST) -> Any:
    """A fresh benchmark of a scenario: so many training and test images of 6 classes in 3 tasks."""
    data = Scenes if scenario in MULTI_LABEL_SCENARIOS else Blobs
    return BENCHMARKS[scenario](data(train, seed=1), data(test, seed=2))


def experiences(scenario: str = "si_blurry", *, train: int = TRAIN, test: int = TEST) -> list[Any]:
    return list(benchmark(scenario, train=train, test=test).train_stream)

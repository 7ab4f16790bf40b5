"""A data set, a scenario and a strategy of one's own, as a user would write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import TensorDataset

import cl_prompts
from cl_prompts.checks import Positive
from cl_prompts.scenarios import DataSet, Split, as_dataset
from cl_prompts.strategies.linear_probe import LinearProbe

MEAN = (0.1, 0.2, 0.3)
STD = (0.4, 0.5, 0.6)


class Stripes(TensorDataset):
    """Noise with a bright row at the place of its class."""

    def __init__(self, size: int, targets: torch.Tensor, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        images = 0.3 * torch.rand(len(targets), 3, size, size, generator=generator)
        for image, label in zip(images, targets.tolist(), strict=True):
            image[:, label] = 1.0
        super().__init__(images, targets)
        self.targets = targets


@cl_prompts.dataset
def stripes(image_size: int, seed: int, *, per_class: int = 12, n_classes: int = 4) -> DataSet:
    """Images (3, image_size, image_size) of ``n_classes`` stripes."""
    targets = torch.arange(n_classes).repeat_interleave(per_class)
    parts = [Stripes(image_size, targets, seed + part) for part in (0, 1)]
    return as_dataset(*parts, name="stripes", mean=MEAN, std=STD)


@cl_prompts.dataset
def same_stripes(image_size: int, *, per_class: int = 12) -> DataSet:
    """The same stripes for every seed."""
    return stripes(image_size, 0, per_class=per_class)


@cl_prompts.dataset
def drawn(
    image_size: int, augment: bool = False, root: str | None = "here", on_bad_image: str = "skip"
) -> DataSet:
    """Images drawn with a global generator, called by what was given."""
    targets = torch.arange(4).repeat_interleave(3)
    parts = [Stripes(image_size, targets, np.random.randint(1000)) for _ in range(2)]
    return as_dataset(*parts, name=f"{augment} {root} {on_bad_image}")


@cl_prompts.scenario
def halves(y: Any, *, seed: int, swapped: bool = False) -> Split:
    """Two tasks, each with half of the classes."""
    labels = np.asarray(y)
    low = np.flatnonzero(labels < labels.max() / 2)
    high = np.flatnonzero(labels >= labels.max() / 2)
    rng = np.random.default_rng(seed)
    tasks = [rng.permutation(low), rng.permutation(high)]
    return Split.of(
        "halves",
        labels,
        tasks[::-1] if swapped else tasks,
        parameters={"seed": seed, "swapped": swapped},
    )


@cl_prompts.scenario
def thirds(y: Any, name: str = "disjoint") -> Split:
    """Has a parameter called as the scenario's own entry of a recipe."""
    return Split.of(name, np.asarray(y), [np.arange(part, len(y), 3) for part in range(3)])


class Doubled(LinearProbe):
    factor: Positive = 2.0
    """What is doubled."""

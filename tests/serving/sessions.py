"""Sessions of a learner, with random features in the place of images."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_prompts.experiments.trained.model import Model
from cl_prompts.serving.journal import Stored
from cl_prompts.serving.learner import Learner
from tests.experiments.trained.models import blank

LABELS = ("ape", "bee", "cat", "doe")


def features(number: int, dim: int) -> Tensor:
    """Features of an image, around a centre of its class."""
    label = LABELS[number % len(LABELS)]
    centre = torch.Generator().manual_seed(len(label) + ord(label[0]))
    own = torch.Generator().manual_seed(1000 + number)
    return 3 * torch.randn(dim, generator=centre) + torch.randn(dim, generator=own)


def sha(number: int) -> str:
    """Content of an image."""
    return hashlib.sha256(str(number).encode()).hexdigest()


class Session:
    """A learner, and short names for its changes."""

    def __init__(self, folder: Path, model: Model | None = None, **options: Any) -> None:
        self.learner = Learner(model or blank("slda"), folder, **options)
        self.dim = self.learner.base.network.head.dim

    def learn(self, number: int, label: str | None = None, key: str | None = None) -> dict:
        """Learn an image of the label that its number says, or of another."""
        given = label or LABELS[number % len(LABELS)]
        return self.learner.learn(self.image(number), given, key).result()

    def image(self, number: int) -> Stored:
        """An image with its features."""
        return Stored(sha(number), features(number, self.dim), b"x")

    def predict(self, number: int) -> dict:
        """Predict an image; its id is its number."""
        return self.learner.predicted(self.image(number), str(number))

    def mixed(self, draws: random.Random, calls: int, start: int = 0) -> list[int]:
        """Learn, undo, relabel and predict at random, and return the numbers of the events."""
        seen, held = [], []
        for number in range(start, start + calls):
            kind = draws.random()
            if kind < 0.6 or len(held) < 3:
                held.append(self.learn(number, key=f"k{number}")["event"])
            elif kind < 0.75:
                held.remove(gone := draws.choice(held))
                seen.append(self.learner.undo(gone).result()["event"])
            elif kind < 0.9:
                held.remove(gone := draws.choice(held))
                held.append(self.learner.relabel(gone, draws.choice(LABELS)).result()["event"])
            else:
                self.predict(number)
        return seen + held

    def sums(self) -> dict[str, Tensor]:
        """The state of the sums, with sorted classes."""
        live = self.learner.live.sums
        return live.with_classes(sorted(live.classes)).network.head.state_dict()

    def labels(self, n: int = 40) -> list[str]:
        """Predictions of images that nobody labelled."""
        rows = [features(number, self.dim) for number in range(5000, 5000 + n)]
        return [self.learner.snapshot.predict(row)[3][0]["label"] for row in rows]


def close(one: dict[str, Tensor], other: dict[str, Tensor], by: float = 1e-9) -> None:
    """Assert that two states are equal within a relative error; 0: bit for bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        scale = float(other[name].abs().max()) if value.numel() else 1.0
        assert value.shape == other[name].shape, name
        assert not value.numel() or float((value - other[name]).abs().max()) <= by * scale, name

"""Sessions of a learner, with random features in the place of images."""

import hashlib
import random
from pathlib import Path
from typing import Any

import numpy as np
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


def strangers(dim: int) -> list[Tensor]:
    """Features of images that nobody labels."""
    return [features(number, dim) for number in range(5000, 5040)]


def sha(number: int) -> str:
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

    def undo(self, event: int) -> int:
        """Undo an event, and return the number of that."""
        return self.learner.undo(event).result()["event"]

    def image(self, number: int) -> Stored:
        return Stored(sha(number), features(number, self.dim), b"x")

    def predict(self, number: int) -> dict:
        """Predict an image; its id is its number."""
        return self.learner.predicted(self.image(number), str(number))

    def mixed(self, draws: random.Random, calls: int, start: int = 0) -> None:
        """Learn, undo, relabel and predict at random."""
        held: list[int] = []
        for number in range(start, start + calls):
            kind = draws.random()
            if kind < 0.6 or len(held) < 3:
                held.append(self.learn(number, key=f"k{number}")["event"])
            elif kind < 0.75:
                held.remove(gone := draws.choice(held))
                self.undo(gone)
            elif kind < 0.9:
                held.remove(gone := draws.choice(held))
                held.append(self.learner.undo(gone, draws.choice(LABELS)).result()["event"])
            else:
                self.predict(number)

    def sums(self) -> dict[str, Tensor]:
        """The state of the sums, with sorted classes."""
        live = self.learner.live.sums
        return live.with_classes(sorted(live.classes)).network.head.state_dict()

    def labels(self) -> list[str]:
        """Predictions of images that nobody labelled."""
        predict = self.learner.snapshot.predict
        return [predict(row)[3][0]["label"] for row in strangers(self.dim)]

    def equals_its_journal(self) -> None:
        """Assert that it comes to what its events leave, added at once to empty sums."""
        journal = self.learner.journal
        undone = {event.undoes for event in journal.events("kind = 'undo'")}
        held = [event for event in journal.events("kind = 'learn'") if event.seq not in undone]
        calm = blank("slda").sums("x").empty(sorted({event.label for event in held}))
        rows = torch.stack([journal.features(event.sha256) for event in held])
        calm.add(rows, np.array([calm.classes.index(event.label) for event in held]))
        head = calm.network.eval().head
        close(self.sums(), head.state_dict())
        best = head.logits(torch.stack(strangers(self.dim))).argmax(dim=1).tolist()
        assert self.labels() == [calm.classes[k] for k in best]

    def end(self) -> None:
        if not self.learner._writer._shutdown:
            self.learner.close()


def close(one: dict[str, Tensor], other: dict[str, Tensor], by: float = 1e-9) -> None:
    """Assert that two states are equal within a relative error; 0: bit for bit."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        scale = float(other[name].abs().max()) if value.numel() else 1.0
        assert value.shape == other[name].shape, name
        assert not value.numel() or float((value - other[name]).abs().max()) <= by * scale, name

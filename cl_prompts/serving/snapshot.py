"""Predictions of a serving model, and refusals of requests."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cl_prompts.closed_form.prototype_classifiers import PrototypeClassifier
from cl_prompts.errors import InputError
from cl_prompts.experiments.trained.predicting import UNKNOWN, Predictions
from cl_prompts.metrics.confidence import confidence


class Refused(InputError):
    """Request that cannot be carried out.

    Args:
        status: of HTTP.
        message: one sentence.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Snapshot:
    """Solved, immutable state of the model.

    Attributes:
        version: number of the last event in it.
        head: solved classifier of the features; None: the network gives logits, or no class exists.
        threshold: confidence below which an image is labelled ``unknown``; None: none is.
    """

    version: int
    classes: tuple[str, ...]
    head: PrototypeClassifier | None
    temperature: float | None
    threshold: float | None

    def predict(self, encoded: Tensor) -> tuple[str, float, float, list[dict[str, Any]]]:
        """Return label, its probability, confidence and the five best classes of one image.

        Args:
            encoded: features (dim,), or logits (classes,) if there is no head.
        """
        if not self.classes:
            return UNKNOWN, 0.0, 0.0, []
        logits = encoded[None] if self.head is None else self.head.logits(encoded[None])
        # The confidence ignores the temperature, which changes as the model learns.
        sure = float(confidence(logits)) if len(self.classes) > 1 else 0.0
        scores = (logits.double() / (self.temperature or 1.0)).softmax(dim=1)[0]
        found = Predictions(self.classes, scores[None], ()).best(0, 5)
        best: list[dict[str, Any]] = [{"label": name, "probability": p} for name, p in found]
        low = self.threshold is not None and sure < self.threshold
        return (UNKNOWN if low else best[0]["label"]), best[0]["probability"], sure, best

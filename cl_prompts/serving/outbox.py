"""Predictions and first answers that wait for the next commit."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from cl_prompts.serving.journal import Journal, Prediction, Stored
from cl_prompts.serving.snapshot import Refused

_MOST = 500  # predictions in memory while the disk is full


class Outbox:
    """Rows that need no commit of their own, since no answer promises them.

    Args:
        journal: where they go.
        quota: bytes of the journal above which no image and no prediction is stored.
    """

    def __init__(self, journal: Journal, quota: int) -> None:
        self.journal, self.quota = journal, quota
        self._predictions: list[tuple[Prediction, Stored]] = []
        self._answers: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()

    def predicted(self, made: Prediction, stored: Stored) -> None:
        """Add a prediction."""
        with self._lock:
            self._predictions.append((made, stored))

    def answered(self, key: str, answer: dict[str, Any]) -> None:
        """Add the first answer of a key; only the writer does."""
        self._answers[key] = answer

    def answer(self, key: str) -> dict[str, Any] | None:
        """Return the first answer of a key, waiting or stored."""
        return self._answers.get(key) or self.journal.answered(key)

    def prediction(self, name: str) -> tuple[Prediction, np.ndarray]:
        """Return a prediction and the features of its image, waiting or stored.

        Raises:
            Refused: it is unknown.
        """
        with self._lock:
            waiting = [two for two in self._predictions if two[0].id == name]
        if waiting:
            return waiting[0][0], waiting[0][1].features
        found = self.journal.prediction(name)
        if found is None:
            raise Refused(404, f"there is not a prediction {name!r}: send the image")
        return found, self.journal.features(found.sha256)

    def check_room(self) -> None:
        """Refuse to store an image above the quota."""
        if self.journal.size >= self.quota:
            raise Refused(507, "the journal has reached its quota of disk: raise --quota")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what is added within, with the rows that wait."""
        with self._lock:
            made = list(self._predictions)
        answers = dict(self._answers)
        with self.journal.transaction():
            if self.journal.size < self.quota:
                self.journal.store([stored for _, stored in made])
                self.journal.predict([prediction for prediction, _ in made])
            self.journal.answer(answers)
            yield
        with self._lock:
            del self._predictions[: len(made)]
        for key in answers:
            del self._answers[key]

    def flush(self) -> None:
        """Commit the rows that wait; while the disk is full, the oldest predictions are dropped."""
        if self._predictions or self._answers:
            try:
                with self.transaction():
                    pass
            except sqlite3.Error:
                with self._lock:
                    del self._predictions[:-_MOST]

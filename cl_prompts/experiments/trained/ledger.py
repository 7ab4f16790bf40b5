"""Ledger of the images that a model has learned, with the features of a sample of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.trained.card import IMAGES_FILE

#: images whose features are stored, unless those of all are
SAMPLED = 2_000


@dataclass(frozen=True)
class Ledger:
    """Learned images, by content.

    Attributes:
        hashes: SHA-256 of each image, (n, 32) uint8.
        labels: classes (n,) int64; with several labels (n, classes) int8: 1, 0, or -1 where the
            class was not annotated.
        rows: images whose features are stored, (k,) int64.
        features: (k, dim) float32.
    """

    hashes: np.ndarray
    labels: np.ndarray
    rows: np.ndarray
    features: np.ndarray

    def __len__(self) -> int:
        return len(self.hashes)

    @classmethod
    def empty(cls, dim: int, n_classes: int | None) -> Ledger:
        """Return a ledger without images; ``n_classes`` is None with one label per image."""
        labels = np.zeros(0, np.int64) if n_classes is None else np.zeros((0, n_classes), np.int8)
        nothing = np.zeros((0, dim), np.float32)
        return cls(np.zeros((0, 32), np.uint8), labels, np.zeros(0, np.int64), nothing)

    @classmethod
    def read(cls, folder: Path) -> Ledger:
        """Read ``images.npz``.

        Raises:
            InputError: the file is damaged.
        """
        file = folder / IMAGES_FILE
        try:
            with np.load(file) as found:
                return cls(*(found[n] for n in ("hashes", "labels", "rows", "features")))
        except (OSError, ValueError, KeyError, BadZipFile) as error:
            raise InputError(f"{file} is damaged: {error}") from error

    def write(self, folder: Path) -> None:
        """Write ``images.npz``."""
        files.write_arrays(folder / IMAGES_FILE, **vars(self))

    def places(self, hashes: np.ndarray) -> np.ndarray:
        """Return the row of each hash (m, 32), -1 for images that were not learned."""
        known = {content.tobytes(): row for row, content in enumerate(self.hashes)}
        found = [known.get(content.tobytes(), -1) for content in hashes]
        return np.array(found, dtype=np.int64)

    def joined(self, other: Ledger, most: int | None = SAMPLED) -> Ledger:
        """Return both ledgers as one; their samples are thinned to one rate.

        Args:
            other: images that follow.
            most: features to store; None for all.
        """
        n, total = len(self), len(self) + len(other)
        # The sparser of the two samples sets the rate of a uniform one.
        rate = min(len(one.rows) / len(one) if len(one) else 1 for one in (self, other))
        if most is not None:
            rate = min(rate, most / max(total, 1))
        first = round(rate * n)
        own = uniform(len(self.rows), first, total)
        new = uniform(len(other.rows), round(rate * total) - first, total)
        return Ledger(
            np.concatenate([self.hashes, other.hashes]),
            np.concatenate([self.labels, other.labels]),
            np.concatenate([self.rows[own], n + other.rows[new]]),
            np.concatenate([self.features[own], other.features[new]]),
        )

    def without(self, rows: np.ndarray) -> Ledger:
        """Return the ledger without some images."""
        kept = np.ones(len(self), dtype=bool)
        kept[rows] = False
        sampled = kept[self.rows]
        number = np.cumsum(kept) - 1
        return Ledger(
            self.hashes[kept], self.labels[kept], number[self.rows[sampled]], self.features[sampled]
        )

    def features_of(self, rows: np.ndarray) -> dict[int, Tensor]:
        """Return the stored features of some images, by row."""
        wanted = set(rows.tolist())
        stored = zip(self.rows.tolist(), self.features, strict=True)
        return {row: torch.from_numpy(own) for row, own in stored if row in wanted}

    def relabelled(self, places: Sequence[int]) -> Ledger:
        """Return the ledger with other classes.

        Args:
            places: for each new class its number so far, or -1. Images must not show a class that
                is left out.
        """
        if self.labels.ndim == 1:
            column = {old: new for new, old in enumerate(places)}
            labels = np.array([column[label] for label in self.labels.tolist()], dtype=np.int64)
            return replace(self, labels=labels)
        wide = np.concatenate([self.labels, np.zeros((len(self), 1), np.int8)], axis=1)
        return replace(self, labels=wide[:, list(places)])

    def per_class(self, n_classes: int) -> list[int]:
        """Return the number of images of each class."""
        if self.labels.ndim == 2:
            return (self.labels > 0).sum(axis=0).tolist()
        return np.bincount(self.labels, minlength=n_classes).tolist()


def hashes_of(contents: Sequence[str]) -> np.ndarray:
    """Return hashes in hexadecimal as bytes, (n, 32)."""
    return np.frombuffer(bytes.fromhex("".join(contents)), np.uint8).reshape(-1, 32)


def uniform(n: int, most: int | None, seed: int) -> np.ndarray:
    """Return ``most`` of the numbers below ``n`` (None: all), drawn at random, in order."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def digest(hashes: np.ndarray) -> str:
    """Return SHA-256 of a set of images, in any order."""
    return hashlib.sha256(b"".join(sorted(row.tobytes() for row in hashes))).hexdigest()

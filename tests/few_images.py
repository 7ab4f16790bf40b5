"""The embedded data sets with so few images that a run takes no time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets import registry as datasets
from cl_prompts.datasets.readers import Source

EMBEDDED = ("digits", "digit_domains", "digit_scenes")
READERS = {name: datasets.DATASETS[name].read for name in EMBEDDED}


@cache
def few(name: str, train: int, test: int) -> Source:
    """A data set's first images: so many of each class, and ten times as many scenes."""
    source = READERS[name](Path(), None)
    parts: list[Any] = []
    domains: list[Any] = []
    for images, targets, of_each, n in (
        (source.train, source.train_targets, source.train_domains, train),
        (source.test, source.test_targets, source.test_domains, test),
    ):
        n = n if of_each is None else max(n, 4)  # each class in four domains
        rows = np.arange(10 * n)
        if targets.ndim == 1:
            rows = np.sort(np.concatenate([np.flatnonzero(targets == c)[:n] for c in range(10)]))
        parts += [torch.as_tensor(images)[torch.from_numpy(rows)], targets[rows]]
        domains.append(None if of_each is None else of_each[rows])
    return Source(*parts, source.classes, train_domains=domains[0], test_domains=domains[1])


def reader(name: str, train: int, test: int) -> Callable[..., Source]:
    """A reader as an entry of the catalogue has it."""

    def read(folder: Path, cache: Any) -> Source:
        return few(name, train, test)

    return read


@contextmanager
def few_images(train: int = 6, test: int = 3) -> Iterator[None]:
    """Let the embedded data sets hold so few images of each class."""
    with pytest.MonkeyPatch.context() as patch:
        for name in READERS:
            entry = replace(datasets.DATASETS[name], read=reader(name, train, test))
            patch.setitem(datasets.DATASETS, name, entry)
        yield

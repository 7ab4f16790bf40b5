"""The embedded data sets, reduced to a few images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from cl_prompts.datasets import registry as datasets
from cl_prompts.datasets.source import Source

EMBEDDED = ("digits", "digit_domains", "digit_scenes")
READERS = {name: datasets.DATASETS[name].read for name in EMBEDDED}


@cache
def few(name: str, train: int, test: int) -> Source:
    """A data set's first images: so many of each class, and ten times as many scenes."""
    source = READERS[name](Path())
    parts = []
    for part, n in zip(source.parts, (train, test), strict=True):
        n = n if part.domains is None else max(n, 4)  # each class in four domains
        rows = np.arange(10 * n)
        if not part.multi_label:
            rows = np.sort(
                np.concatenate([np.flatnonzero(part.targets == c)[:n] for c in range(10)])
            )
        parts.append(part.at(rows))
    return Source(parts, source.classes)


def reader(name: str, train: int, test: int) -> Callable[..., Source]:
    return lambda folder: few(name, train, test)


@contextmanager
def few_images(train: int = 6, test: int = 3) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in READERS:
            entry = replace(datasets.DATASETS[name], read=reader(name, train, test))
            patch.setitem(datasets.DATASETS, name, entry)
        yield

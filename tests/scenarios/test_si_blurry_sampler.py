"""The sampler of Si-Blurry: rows of classes, labels without samples, and how much work it does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.scenarios.si_blurry_sampler import blurry_stream, rows_of
from tests.scenarios.labels import loops_over_samples

PARAMETERS: dict[str, Any] = {
    "n_tasks": 3,
    "disjoint_percent": 50,
    "blurry_percent": 50,
    "seed": 2,
    "stochastic": True,
    "leftover": "keep",
}


def test_rows_of_classes() -> None:
    labels = np.array([3, 0, 1, 0, 2, 3])
    classes = [np.array([3, 1]), np.array([], dtype=np.int64), np.array([0])]
    assert [rows.tolist() for rows in rows_of(labels, classes, 4)] == [[0, 2, 5], [], [1, 3]]


def test_more_tasks_than_a_small_integer_holds() -> None:
    labels = np.arange(900) % 300
    rows = rows_of(labels, [np.array([299 - task]) for task in range(300)], 300)
    assert [part.tolist() for part in rows] == [
        [299 - task, 599 - task, 899 - task] for task in range(300)
    ]


def test_classes_without_samples_take_part_in_the_draws() -> None:
    labels = np.arange(80) % 8
    split = blurry_stream(labels, 12, **PARAMETERS)
    full = blurry_stream(np.arange(120) % 12, 12, **PARAMETERS)
    assert split.disjoint_classes == full.disjoint_classes
    assert split.blurry_classes == full.blurry_classes
    assert not split.counts[:, 8:].any()
    assert split.counts.sum() == 80
    assert split.dropped_classes == ()


def test_no_loop_over_samples() -> None:
    labels = np.random.default_rng(0).permutation(np.arange(200_000) % 100)
    assert not loops_over_samples(lambda y: blurry_stream(y, 100, **PARAMETERS), labels)


@pytest.mark.parametrize("leftover", ["keep", "drop"])
def test_draws_are_few_and_of_one_generator(monkeypatch: pytest.MonkeyPatch, leftover: str) -> None:
    draws: list[torch.Generator] = []

    def counted(function: Any) -> Any:
        def draw(*arguments: Any, generator: torch.Generator) -> Any:
            draws.append(generator)
            return function(*arguments, generator=generator)

        return draw

    for name in ("randperm", "randint"):
        monkeypatch.setattr(torch, name, counted(getattr(torch, name)))
    blurry_stream(np.arange(1300) % 13, 13, **{**PARAMETERS, "leftover": leftover})
    # Classes, two kinds of homes, the pool's sizes and order, an order per task; then the homes of
    # leftover classes, and places in the tasks that get some.
    published = 1 + 2 + 2 + 3
    assert len(set(map(id, draws))) == 1
    if leftover == "drop":
        assert len(draws) == published
    else:
        assert published + 2 <= len(draws) <= published + 4

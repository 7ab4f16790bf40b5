"""The memory that a run needs is compared with what there is before any work."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.runner import memory
from cl_prompts.experiments.runner.memory import (
    AllocationLimit,
    TooLarge,
    available_memory,
    check_memory,
    fitting,
    gigabytes,
    needed_memory,
)
from tests.toys import make

SIZES = {"n_train": 1000, "n_test": 100, "n_tasks": 3}


def test_there_is_some_memory() -> None:
    assert available_memory() > 10**6


@pytest.mark.parametrize(
    "call",
    [
        lambda: torch.zeros(300, 300),
        lambda: torch.empty((300, 300)),
        lambda: torch.randperm(10**6),
        lambda: torch.eye(300),
        lambda: torch.ones(2).new_zeros(300, 300),
        lambda: torch.full((300, 300), 2.0, dtype=torch.float64),
    ],
)
def test_a_tensor_beyond_the_limit_is_never_made(call: Any) -> None:
    with pytest.raises(TooLarge), AllocationLimit(100_000):
        call()
    with AllocationLimit(10**8):
        call()


def test_what_does_not_fit_is_refused_with_an_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_memory", lambda device="cpu": 100_000)
    says = r"strategy x needs at least 0\.0 GB of memory, and 0\.0 GB are free: choose smaller"
    with pytest.raises(InputError, match=says), fitting("strategy x"):
        torch.zeros(300, 300)
    with pytest.raises(InputError, match="strategy y needs at least"):
        check_memory("strategy y", make("mvp"), **SIZES)


def test_a_run_that_fits_passes() -> None:
    check_memory("strategy mvp", make("mvp"), **SIZES)


def test_the_estimate_grows_with_what_it_is_made_of() -> None:
    def needed(kind: str, **changes: Any) -> int:
        return needed_memory(make(kind, **changes), **SIZES)

    plain = needed("linear_probe", train_mb_size=64)
    assert needed("linear_probe", train_mb_size=128) > plain
    assert needed("fine_tuning", train_mb_size=64) > plain  # all weights learn
    assert needed("er", train_mb_size=64) > plain  # replayed samples join
    assert needed("multi_lane", train_mb_size=64, n_selectors=4) > needed(
        "multi_lane", train_mb_size=64, n_selectors=2
    )

    # The products of random features, 8 bytes each, with a copy and a factor while it is solved.
    small, large = (needed("ranpac", projection=n) for n in (100, 200))
    assert large - small == 3 * 8 * (200**2 - 100**2)


def test_bytes_in_words() -> None:
    assert [gigabytes(n) for n in (0, 1.25e9, 5.12e11)] == ["0.0 GB", "1.2 GB", "512 GB"]

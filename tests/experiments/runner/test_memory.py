"""The memory that a run needs is compared with the free memory before any work, and measured."""

from __future__ import annotations

import ctypes
import gc
import mmap
import sys
from pathlib import Path
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
    memory_forecast,
    peak_device_memory_mb,
    peak_memory_mb,
    reset_peak_memory,
)
from cl_prompts.models.ranpac import RanPAC
from tests.forked import forked
from tests.toy_data import N_CLASSES
from tests.toys import make

CPU = torch.device("cpu")
SIZES = {"n_train": 1000, "n_test": 100, "n_tasks": 3, "ends": True}


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


def forecast(kind: str, **changes: Any) -> dict[str, int]:
    return memory_forecast(make(kind, **changes), **SIZES)


@pytest.mark.parametrize(
    ("kind", "sizes", "images"),
    [
        ("linear_probe", {"train_mb_size": 64}, 64),
        ("linear_probe", {"train_mb_size": 5000}, 1000),  # no more than there are
        ("linear_probe", {"train_mb_size": 8, "eval_mb_size": 40}, 40),
        ("linear_probe", {"train_mb_size": 8, "eval_mb_size": 4000}, 100),
        ("er", {"train_mb_size": 64, "buffer_size": 7}, 64 + 7),
    ],
)
def test_the_largest_batch_is_held(kind: str, sizes: dict[str, int], images: int) -> None:
    found = forecast(kind, **sizes)
    backbone = make(kind).model.backbone
    assert found["pixels of a batch"] == 4 * images * 3 * backbone.image_size**2
    assert found["tokens of a batch"] == 4 * images * 9 * backbone.n_tokens * backbone.dim


def test_parameters_lanes_and_products_are_held() -> None:
    model = make("fine_tuning").model
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trained > sum(p.numel() for p in model.backbone.parameters()) / 2
    assert forecast("fine_tuning")["trained parameters"] == 3 * 4 * trained
    assert forecast("linear_probe")["lanes to come"] == 0
    lanes = make("multi_lane").model.lanes
    assert forecast("multi_lane")["lanes to come"] == 4 * 3 * lanes.lane_bytes > 0
    # What evaluation keeps of 100 test images grows with what is read of each; a query does not.
    for kind, width in (("ncm", 3), ("linear_probe", 3), ("dual_prompt", 1), ("one_prompt", 0)):
        kept = forecast(kind, read_out="blocks:3")["features of test images"]
        assert kept == 4 * SIZES["n_test"] * width * model.backbone.dim
    # The products of random features, 8 bytes each, and the factor while one is solved; where a
    # ridge is chosen, the products without the held-out samples, too.
    matrix = 8 * 100**2
    assert forecast("ranpac", projection=100)["ridge regression"] == 3 * matrix
    assert forecast("ranpac", projection=100, held_out=0)["ridge regression"] == 2 * matrix
    never = memory_forecast(make("ranpac", projection=100), **{**SIZES, "ends": False})
    assert never["ridge regression"] == 2 * matrix
    assert forecast("klda", width=100, members=2)["ridge regression"] == 3 * matrix
    assert forecast("air", projection=100)["matrices of classes"] == N_CLASSES * 8 * 100**2


def test_bytes_in_words() -> None:
    assert [gigabytes(n) for n in (0, 1.25e9, 5.12e11)] == ["0.0 GB", "1.2 GB", "512 GB"]


# ---------------------------------------------------------------------- peak


def test_the_peak_is_that_of_the_process() -> None:
    assert 50 < peak_memory_mb() < 1e6


def test_what_is_held_for_a_moment_counts() -> None:
    reset_peak_memory(CPU)
    start = peak_memory_mb()
    # Pages of its own: an allocator may hand out memory that this process freed before.
    with mmap.mmap(-1, 100 * 2**20) as pages:
        for page in range(0, len(pages), mmap.PAGESIZE):
            pages[page] = 1
    assert peak_memory_mb() >= start + 90


def test_what_was_freed_before_is_no_peak_of_this_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("_STATUS", "_CLEAR"):
        monkeypatch.setattr(memory, name, tmp_path / name)
    (tmp_path / "_STATUS").write_text("Name:\tpython\nVmHWM:\t  2048 kB\n")
    reset_peak_memory(CPU)
    assert (tmp_path / "_CLEAR").read_text() == "5"
    assert peak_memory_mb() == 2.0
    # A kernel without either: the peak of the whole process.
    for name in ("_STATUS", "_CLEAR"):
        monkeypatch.setattr(memory, name, tmp_path / "nowhere" / name)
    reset_peak_memory(CPU)
    assert peak_memory_mb() > 50


def test_only_a_gpu_has_a_peak_of_its_own() -> None:
    assert peak_device_memory_mb(CPU) is None


def solved(projection: int, held_out: int) -> RanPAC:
    """RanPAC after a few samples, the choice of a ridge, if any are held out, and a solution."""
    model = RanPAC(8, 3, projection=projection, held_out=held_out)
    model.update(torch.randn(16, 8), torch.arange(16) % 3)
    if held_out:
        model.choose_ridge([10.0, 1000.0])
    model(torch.randn(4, 8))
    return model


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is given back by glibc")
@pytest.mark.parametrize(("projection", "held_out"), [(1800, 0), (2200, 8), (2600, 0)])
def test_the_forecast_of_a_ridge_regression_is_its_peak(projection: int, held_out: int) -> None:
    def work() -> int:
        solved(1500, 8)  # what libraries keep for themselves from their first products on
        gc.collect()
        ctypes.CDLL("libc.so.6").malloc_trim(0)  # what was freed before is given back
        reset_peak_memory(CPU)
        start = peak_memory_mb()
        model = solved(projection, held_out)
        print((peak_memory_mb() - start) * 2**20, model.statistics.gram.nbytes)
        return 0

    # In a process of its own, where nothing else takes memory or gives it back.
    done = forked(work)
    assert done.code == 0, done.err
    peak, of_gram = map(float, done.out.split())
    # As memory_forecast counts it.
    assert peak == pytest.approx((3 if held_out else 2) * of_gram, rel=0.2)

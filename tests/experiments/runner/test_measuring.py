"""What a run takes by short measurements: loader processes, precision, and advice on threads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_prompts.backbones import FrozenViT, create_backbone
from cl_prompts.experiments.recipes.grid import essence
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.runner import building, measuring
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.execution import complete
from cl_prompts.experiments.runner.measuring import (
    chosen_workers,
    forward_seconds,
    loader_processes,
    settled,
    threads_remark,
)

IN_MEMORY: Any = SimpleNamespace(is_plain=True, files=())
AUGMENTED: Any = SimpleNamespace(is_plain=False, files=())
FILES: Any = SimpleNamespace(is_plain=True, files=("a.png",))


@pytest.mark.parametrize(
    ("view", "step", "batch", "cores", "found"),
    [
        (0.001, 0.1, 64, 16, 1),
        (0.001, 0.02, 64, 16, 4),
        (0.003, 0.02, 64, 16, 12),
        (0.003, 0.01, 64, 16, 15),
        (0.003, 0.01, 64, 128, 24),
        (0.003, 0.01, 64, 1, 1),
        (0.0, 0.01, 64, 16, 1),
        (1.0, 0.0, 64, 1000, 256),
    ],
)
def test_as_many_processes_as_views_take_beside_a_step(
    view: float, step: float, batch: int, cores: int, found: int
) -> None:
    assert loader_processes(view, step, batch, cores) == found


@pytest.mark.parametrize(
    ("images", "device", "found"),
    [
        (IN_MEMORY, "cuda", 0),
        (AUGMENTED, "cuda", 3),
        (FILES, "cuda", 3),
        (FILES, "cpu", 0),
        (FILES, "mps", 0),
    ],
)
def test_they_are_measured_beside_a_gpu_where_images_are_work(
    images: Any, device: str, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "view_seconds", lambda images: 0.003)
    monkeypatch.setattr(measuring, "forward_seconds", lambda backbone, batch: 0.01 * batch)
    monkeypatch.setattr(measuring, "cores", lambda: 4)
    monkeypatch.setattr(measuring, "HEADROOM", 9.0)
    backbone: Any = SimpleNamespace(mean=SimpleNamespace(device=torch.device(device)))
    n, said = chosen_workers(images, backbone, 8)
    assert n == found
    words = "num_workers=3: a process makes a view in 3 ms, a forward pass of 8 takes 80 ms, and"
    assert said == ([f"{words} there are 4 cores"] if n else [])


def test_the_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring.os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert measuring.cores() == 2
    monkeypatch.delattr(measuring.os, "sched_getaffinity")
    monkeypatch.setattr(measuring.os, "cpu_count", lambda: 5)
    assert measuring.cores() == 5


def test_a_pass_that_is_measured_is_not_counted() -> None:
    vit = create_backbone()
    before = vit.counter.counts()
    assert forward_seconds(vit, 2) > 0
    assert vit.counter.counts() == before


# ---------------------------------------------------------------------- precision


@pytest.fixture
def of_bf16(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """Seconds of a pass in bf16, for one in fp32."""
    of_one = [0.5]
    monkeypatch.setattr(
        measuring, "forward_seconds", lambda vit, n: 1 if vit.precision == "fp32" else of_one[0]
    )
    monkeypatch.setattr(measuring, "lacks_bf16", lambda device: False)
    measuring.faster_precision.cache_clear()
    yield of_one
    measuring.faster_precision.cache_clear()


def asked() -> Settings:
    """A run that leaves its precision to the machine."""
    (run,) = plan("digits", ["strategy=ncm", "seed=1", "precision=auto", "device=cpu"])
    return run


@pytest.mark.parametrize(("seconds", "found"), [(0.5, "bf16"), (0.95, "fp32"), (6.0, "fp32")])
def test_the_faster_precision_is_taken_and_said(
    of_bf16: list[float], seconds: float, found: str
) -> None:
    of_bf16[0] = seconds
    run, said = settled(asked())
    assert run.backbone["precision"] == found
    wanted = f"precision=auto: {found}, a forward pass in bf16 takes {seconds:.2f} of fp32's"
    assert said == [wanted]
    of_bf16[0] = 2 - seconds
    assert settled(asked()) == (run, said)  # for all runs of a process
    assert settled(run) == (run, [])


def test_a_processor_without_bf16_is_not_asked(
    of_bf16: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "lacks_bf16", lambda device: True)
    run, (said,) = settled(asked())
    assert run.backbone["precision"] == "fp32"
    assert said.endswith("fp32, since this processor has no instructions for bf16")


def test_a_run_is_known_by_the_precision_that_was_taken(
    of_bf16: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "cl_prompts.experiments.runner.execution.execute", lambda p, f, **options: f.close()
    )
    run: Any = SimpleNamespace(settings=asked(), state="missing", folder=tmp_path / "run")
    complete(run, Builder(), [], "the command")  # type: ignore[arg-type]
    text = (tmp_path / "run" / "config.yaml").read_text()
    assert "precision: bf16" in text
    begun = Settings.from_yaml(text)
    of_bf16[0] = 6.0
    measuring.faster_precision.cache_clear()
    # What was begun goes on as it was, and one that is made now is another run.
    assert settled(begun) == (begun, [])
    other = replace(settled(asked())[0], num_workers=begun.num_workers)
    assert essence(asdict(begun)) != essence(asdict(other))


# ---------------------------------------------------------------------- threads


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number that torch has, the last of them, where one is twice as fast as several."""
    there = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: there[-1])
    monkeypatch.setattr(torch, "set_num_threads", there.append)
    monkeypatch.setattr(measuring, "forward_seconds", lambda vit, n: 1.0 if there[-1] == 1 else 2.0)
    return there


@pytest.fixture(scope="module")
def vit() -> FrozenViT:
    """The embedded ViT."""
    return create_backbone()


def test_fewer_threads_are_advised_and_not_taken(threads: list[int], vit: FrozenViT) -> None:
    (said,) = threads_remark(vit, 8)
    assert said.startswith("a forward pass takes 0.50 as long on one thread as on torch's 4")
    assert threads == [4, 1, 4]
    assert threads_remark(vit, 10**6) == []
    threads.append(1)
    assert threads_remark(vit, 8) == []


def test_a_run_says_so_unless_it_takes_one_anyway(
    threads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    for size, n in ((32, 0), (96, 1)):
        texts = ["strategy=ncm", "seed=1", "train_mb_size=4", "device=cpu", f"image_size={size}"]
        (run,) = plan("digits", texts)
        found = building.remarks(Builder().build(run))
        assert sum("on one thread" in remark for remark in found) == n

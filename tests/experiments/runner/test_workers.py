"""Loader processes of a run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.runner import workers
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.experiments.runner.execution import complete
from cl_prompts.experiments.runner.workers import MOST, resolved_workers

CPU, GPU = torch.device("cpu"), torch.device("cuda")
IN_MEMORY: Any = SimpleNamespace(is_plain=True, files=())
AUGMENTED: Any = SimpleNamespace(is_plain=False, files=())
FILES: Any = SimpleNamespace(is_plain=True, files=("a.png",))


@pytest.mark.parametrize(
    ("asked", "images", "device", "cores", "found"),
    [
        (3, IN_MEMORY, CPU, 64, 3),
        (0, FILES, GPU, 64, 0),
        (None, FILES, CPU, 64, 0),
        (None, IN_MEMORY, GPU, 64, 0),
        (None, AUGMENTED, GPU, 64, MOST),
        (None, FILES, GPU, 64, MOST),
        (None, FILES, GPU, 4, 3),
        (None, FILES, GPU, 1, 1),
        (None, FILES, torch.device("mps"), 8, 0),
    ],
)
def test_the_number_is_chosen_by_device_and_source(
    asked: int | None,
    images: Any,
    device: torch.device,
    cores: int,
    found: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workers, "_cores", lambda: cores)
    assert resolved_workers(asked, images, device) == found


def test_the_cores_are_those_that_the_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {0, 3}, raising=False)
    assert workers._cores() == 2
    monkeypatch.delattr(workers.os, "sched_getaffinity")
    monkeypatch.setattr(workers.os, "cpu_count", lambda: 5)
    assert workers._cores() == 5


def test_a_run_records_the_number_that_was_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1", "device=cpu"])
    assert settings.num_workers is None
    parts = Builder().build(settings)
    assert parts.settings.num_workers == 0
    assert settings.num_workers is None
    made: list[Any] = []
    monkeypatch.setattr(
        "cl_prompts.experiments.runner.execution.execute", lambda p, f, watcher: f.close()
    )
    run: Any = SimpleNamespace(settings=settings, state="missing", folder=tmp_path / "run")
    complete(run, Builder(), made, "the command")  # type: ignore[arg-type]
    assert "num_workers: 0" in (tmp_path / "run" / "config.yaml").read_text()

"""Frozen work in files."""

from __future__ import annotations

import copy
import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError, RunError
from cl_prompts.strategies.base import frozen_work
from cl_prompts.strategies.base.batch import Batch
from cl_prompts.strategies.base.frozen_work import FrozenWork
from cl_prompts.strategies.base.spill import Spill, SpilledPart
from tests.toy_data import experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make, same, weights

TWICE = {"train_epochs": 2, "online_iter": 2}


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def test_what_does_not_fit_the_memory_is_kept_in_files_until_its_task_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = fit(make("linear_probe", views=1, **TWICE), experiences())
    strategy = make("linear_probe", views=1, views_spill=str(tmp_path), **TWICE)
    monkeypatch.setattr(strategy.frozen_work, "budget", 0)
    made: list[int] = []
    strategy.between_batches = lambda: made.append(len(files(tmp_path)))
    fit(strategy, experiences())
    assert same(weights(strategy), weights(within))
    work, n = strategy.frozen_work, strategy.samples_seen // 2
    assert (work.reused, work.computed) == (3 * n, n)
    assert (within.frozen_work.reused, within.frozen_work.computed) == (3 * n, n)
    assert work.spilled == 4 * n * strategy.model.backbone.dim
    assert within.frozen_work.spilled == 0
    assert max(made) == 1
    assert not files(tmp_path)


def passes(work: FrozenWork, model: Any, images: torch.Tensor, rows: list[int]) -> torch.Tensor:
    samples = torch.tensor([[0, row] for row in rows])
    columns = [images[rows], torch.zeros(len(rows), dtype=torch.int64)]
    batch = Batch(columns, torch.ones(3, dtype=torch.bool), torch.zeros(0), samples)
    return work.run(model, batch).features


def a_model() -> Any:
    model = make("linear_probe", backbone=tiny_vit()).model
    model.observe_classes(torch.arange(3))
    return model


def test_a_resumed_run_reads_the_same_rows_and_computes_those_written_later(
    tmp_path: Path,
) -> None:
    model, images = a_model(), torch.rand(6, 3, 16, 16)
    work = FrozenWork(1, 0, spill=str(tmp_path))
    work.enter(0, 6, replayed=False)
    first = passes(work, model, images, [0, 3, 4])
    state = copy.deepcopy(work.state_dict(needed=True))
    passes(work, model, images, [1, 2])
    twin = FrozenWork(1, 0, spill=str(tmp_path))
    twin.load_state_dict(state, model)
    assert torch.equal(passes(twin, model, torch.zeros_like(images), [0, 3, 4]), first)
    assert (twin.reused, twin.computed) == (3, 3)
    passes(twin, model, images, [1, 2])
    assert (twin.reused, twin.computed, twin.spilled) == (3, 5, work.spilled)
    (file,) = files(tmp_path)
    content = bytearray(file.read_bytes())
    content[5] ^= 1
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match="is not what it was"):
        FrozenWork(1, 0, spill=str(tmp_path)).load_state_dict(state, model)
    twin.close()
    assert not files(tmp_path)
    with pytest.raises(InputError, match="which is gone: bring the file back"):
        FrozenWork(1, 0, spill=str(tmp_path)).load_state_dict(state, model)


def test_files_outlive_their_task_for_the_last_two_states_of_a_run(tmp_path: Path) -> None:
    model, images = a_model(), torch.rand(4, 3, 16, 16)
    work = FrozenWork(1, 0, spill=str(tmp_path))
    work.enter(0, 4, replayed=False)
    passes(work, model, images, [0, 1])
    work.state_dict(needed=True)
    work.leave(replayed=False)
    assert not work.state_dict(needed=True)["spill"]["parts"]
    left = []
    for _ in range(3):
        left.append(len(files(tmp_path)))
        work.state_dict(needed=True)
    assert left == [1, 1, 0]


def test_a_copy_of_a_part_lies_in_memory(tmp_path: Path) -> None:
    part = Spill(str(tmp_path)).part(0, 2, 3)
    part.put(torch.tensor([1]), torch.ones(1, 3))
    twin = copy.deepcopy(part)
    assert not isinstance(twin, SpilledPart)
    part.put(torch.tensor([0]), torch.ones(1, 3))
    assert twin.known.tolist() == [False, True]
    assert twin.values.tolist() == [[0.0] * 3, [1.0] * 3]


def test_files_go_with_the_strategy(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path))
    spill.part(0, 2, 3)
    assert len(files(tmp_path)) == 1
    del spill
    assert not files(tmp_path)


def test_files_that_no_state_tells_of_go_with_the_strategy(tmp_path: Path) -> None:
    spill = Spill(str(tmp_path))
    told = spill.part(0, 2, 3)
    spill.state_dict({"told": told})
    spill.part(1, 2, 3)
    assert len(files(tmp_path)) == 2
    del spill
    assert files(tmp_path) == [told.path]


def test_a_full_disk_is_told_before_anything_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match=r"2 MB of frozen work .* \(the disk is full\): make room"):
        Spill(str(tmp_path)).part(0, 1000, 500)
    assert not files(tmp_path)


def test_a_folder_that_is_none_and_views_that_never_come_again(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="it should be a folder that exists"):
        make("linear_probe", views=1, views_spill=str(tmp_path / "none"))
    with pytest.raises(InputError, match="give views, such as views=1"):
        make("linear_probe", views_spill=str(tmp_path))
    assert frozen_work.BUDGET == 2**30

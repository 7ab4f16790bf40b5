"""Shards of a stream: the numbers of one process, from any division and after any death."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.closed_form.sums import sums_of
from cl_prompts.errors import RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.experiments.run_folder import files
from cl_prompts.experiments.run_folder.plans import PlannedRun
from cl_prompts.experiments.run_folder.runs import held_out_confidence
from cl_prompts.experiments.runner import running, shards
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.runner.run import Run
from tests.experiments.commands import QUICK, rows, run, summary
from tests.experiments.faults import Killed

#: methods that shards can compute, with settings that let them choose nothing by a random sample
METHODS: dict[str, list[str]] = {
    "ncm": [],
    "slda": [],
    "fecam": [],
    "recommended": ["points=published"],
    "ranpac": ["ranpac.projection=40", "ranpac.held_out=0"],
    "randumb": ["randumb.width=40", "randumb.gamma=0.1"],
    "gacl": ["gacl.projection=40", "every=null"],
}


def settings_of(method: str, *more: str) -> RunConfig:
    (found,) = plan("digits", [f"strategy={method}", "seed=2", *QUICK, *more])
    return found


def train(run: Run) -> Run:
    run.strategy.train(list(run.benchmark.train_stream))
    return run


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 6), min_size=1, max_size=5), st.integers(1, 8))
def test_shards_divide_the_batches(sizes: list[int], n: int) -> None:
    batches = [np.array([i]) for i in range(sum(sizes))]
    ends = np.cumsum(sizes).tolist()
    intervals = [
        shards.Interval(i, 0, end, batches[end - size : end])
        for i, (end, size) in enumerate(zip(ends, sizes, strict=True))
    ]
    pieces = [piece for k in range(1, n + 1) for piece in shards.pieces_of(intervals, k, n)]
    assert [int(row[0]) for piece in pieces for row in piece.batches] == list(range(len(batches)))
    for piece in pieces:
        rows_of = [int(row[0]) for row in intervals[piece.number].batches]
        assert {int(row[0]) for row in piece.batches} <= set(rows_of)


@pytest.mark.parametrize("method", METHODS)
def test_sums_and_curve_are_those_of_one_process(method: str, tmp_path: Path) -> None:
    config = settings_of(method, *METHODS[method])
    resources = Resources()
    one, divided = train(build_run(config, resources)), build_run(config, resources)
    for shard in (3, 1, 2):  # in any order
        shards.compute_shard(PlannedRun(tmp_path, config), shard, 3, resources)
    shards.use_shards(divided, tmp_path, 3)
    train(divided)
    assert divided.results() == one.results()
    for kind in ("anytime", "task_ends"):
        curves = [getattr(each.anytime.curve, kind) for each in (one, divided)]
        assert [e.samples_seen for e in curves[0]] == [e.samples_seen for e in curves[1]]
        for first, second in zip(*curves, strict=True):
            assert torch.equal(first.by_class.nan_to_num(-1), second.by_class.nan_to_num(-1))
    heads: list[Any] = [each.strategy.model.head for each in (one, divided)]
    for part, other in zip(heads[0].modules(), heads[1].modules(), strict=True):
        for name, (values, _) in sums_of(part).items():
            assert torch.allclose(values, getattr(other, name), rtol=1e-9, atol=1e-9), name
    # A continual run would continue with the same order.
    states = [each.strategy.shuffler.get_state() for each in (one, divided)]
    assert torch.equal(*states)


#: a function that a shard calls, and the call at which it is killed
MOMENTS: dict[str, tuple[Any, str, int]] = {
    "before it starts": (shards, "build_run", 1),
    "during features": (shards, "check_input", 3),
    "between two points": (shards, "zero", 3),
    "while sums are written": (files, "rename", 3),
    "after all sums": (files, "rename", 6),
}


def killed(function: Callable[..., Any], at: int) -> Callable[..., Any]:
    calls = count(1)

    def called(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == at:
            raise Killed
        return function(*args, **kwargs)

    return called


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_shard_continues(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned, resources = PlannedRun(tmp_path, settings_of("ncm")), Resources()
    owner, name, at = MOMENTS[moment]
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed(getattr(owner, name), at))
        with pytest.raises(Killed):
            shards.compute_shard(planned, 1, 2, resources)
    before = {place: place.read_bytes() for place in tmp_path.rglob("*.safetensors")}
    write, again = shards._write, []

    def noting(folder: Path, name: str, state: Any) -> None:
        again.append(folder / name)
        write(folder, name, state)

    monkeypatch.setattr(shards, "_write", noting)
    shards.compute_shard(planned, 1, 2, resources)
    assert not set(again) & set(before)
    assert {place: place.read_bytes() for place in before} == before
    assert len(before) + len(again) == len(list(tmp_path.rglob("*.safetensors")))
    assert (tmp_path / "shards" / "1" / "done").is_file()


def test_the_command_and_a_run_that_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["digits", "strategy=recommended", "seed=1", *QUICK]
    _, (one,) = run(tmp_path / "one", *given)
    compute, done = shards.compute_shard, []

    def dying(planned: PlannedRun, shard: int, n: int, resources: Resources) -> None:
        if shard == 2 and shard not in done:
            done.append(shard)
            raise RunError("the machine is gone")
        compute(planned, shard, n, resources)
        done.append(shard)

    monkeypatch.setattr(shards, "compute_shard", dying)
    out = tmp_path / "divided"
    assert main(["run", *given, "--shards", "3", "--jobs", "1", "--out", str(out), "--quiet"]) == 1
    assert "the machine is gone" in capsys.readouterr().err
    (config,) = out.rglob("config.yaml")
    folder = config.parent
    resume = ["run", "--resume", str(folder), "--trust-code", "--quiet"]
    with monkeypatch.context() as patch:
        patch.setattr(running, "use_shards", killed(shards.use_shards, 1))
        with pytest.raises(Killed):
            main(resume)
    assert main(resume) == 0
    assert done == [1, 2, 2, 3]  # no finished shard is computed again
    assert rows(folder) == [row for row in rows(one) if row[1] != "loss"]
    assert not (folder / "shards").exists()
    assert summary(folder)["results"] == summary(one)["results"]
    assert held_out_confidence(folder)[1] is not None

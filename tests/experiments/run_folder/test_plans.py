"""Plans: what was to be run is known after the process has died."""

import json
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.plans import (
    PlannedRun,
    describe,
    new_path,
    unfinished_plan,
    write_plan,
)
from tests.experiments.faults import count_steps, with_fault


def planned(folder: Path) -> list[PlannedRun]:
    """Three runs: one finished, one unfinished, one missing."""
    runs = []
    for settings, status in zip(
        plan("digits", ["strategy=mvp", "seed=1,2,3"]), ("finished", "running", None), strict=True
    ):
        path = folder / "mvp" / str(settings.seed)
        runs.append(PlannedRun(path, settings, "cl-prompts run digits"))
        if status is not None:
            path.mkdir(parents=True)
            (path / "config.yaml").write_text(settings.to_yaml())
            (path / "summary.json").write_text(json.dumps({"status": status}))
    return runs


def test_a_plan_comes_back_with_the_state_of_its_runs(tmp_path: Path) -> None:
    made = planned(tmp_path)
    write_plan(tmp_path, made)
    assert unfinished_plan(tmp_path) == made
    tmp_path.rename(tmp_path.with_name("moved"))  # with its runs
    found = unfinished_plan(tmp_path.with_name("moved"))
    assert describe(found) == "1 finished, 1 unfinished, 1 missing"


def test_the_last_unfinished_plan_is_found(tmp_path: Path) -> None:
    made = planned(tmp_path)
    unfinished = write_plan(tmp_path, made)
    write_plan(tmp_path, made[:1])  # nothing is left of this one
    assert unfinished_plan(tmp_path) == made
    unfinished.unlink()
    with pytest.raises(InputError, match=r"is not a run: resume one of .*mvp"):
        unfinished_plan(tmp_path)


def test_no_plan_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(tmp_path)
    write_plan(tmp_path, made)
    for at in range(count_steps(monkeypatch, lambda: write_plan(tmp_path, made))):
        with_fault(monkeypatch, at, "killed half-way", lambda: write_plan(tmp_path, made))
        assert unfinished_plan(tmp_path) == made


def test_new_paths_are_free_and_have_a_short_label(tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=4"])
    settings.strategy = "package.module:MyMethod"
    paths = [new_path(tmp_path, settings) for _ in range(3)]
    assert all(path.is_dir() for path in paths)
    assert {path.parent for path in paths} == {tmp_path / "digits" / "MyMethod"}
    assert len(set(paths)) == 3
    assert all(path.name.startswith("4-") for path in paths)

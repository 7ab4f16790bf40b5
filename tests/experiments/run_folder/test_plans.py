"""Plans: what was to be run is known after the process has died."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.plans import (
    Plan,
    PlannedRun,
    describe,
    new_path,
    unfinished_plan,
)
from tests.experiments.faults import count_steps, with_fault


def planned(folder: Path) -> Plan:
    """Three runs: one finished, one unfinished, one missing."""
    runs = []
    for settings, status in zip(
        plan("digits", ["strategy=mvp", "seed=1,2,3"]), ("finished", "running", None), strict=True
    ):
        path = folder / "mvp" / str(settings.seed)
        runs.append(PlannedRun(path, settings))
        if status is not None:
            path.mkdir(parents=True)
            (path / "config.yaml").write_text(settings.to_yaml())
            (path / "summary.json").write_text(json.dumps({"status": status}))
    return Plan("cl-prompts run digits", tuple(runs))


def test_a_plan_comes_back_with_the_state_of_its_runs(tmp_path: Path) -> None:
    made = planned(tmp_path)
    assert Plan.read(made.write(tmp_path)) == made
    assert [run.state for run in made.runs] == ["finished", "unfinished", "missing"]
    assert describe(made.runs) == "1 finished, 1 unfinished, 1 missing"


def test_the_last_unfinished_plan_is_found(tmp_path: Path) -> None:
    made = planned(tmp_path)
    made.write(tmp_path)
    Plan("later", made.runs[:1]).write(tmp_path)  # nothing is left of this one
    assert sorted(file.name for file in tmp_path.glob("*.json")) == ["plan-1.json", "plan-2.json"]
    assert unfinished_plan(tmp_path).command == "cl-prompts run digits"
    (tmp_path / "plan-1.json").unlink()
    with pytest.raises(InputError, match="there is nothing to resume"):
        unfinished_plan(tmp_path)


def test_a_folder_moved_with_its_plan_still_has_its_runs(tmp_path: Path) -> None:
    old = tmp_path / "old"
    new = tmp_path / "new"
    planned(old).write(old)
    old.rename(new)
    assert [run.state for run in unfinished_plan(new).runs] == ["finished", "unfinished", "missing"]


@pytest.mark.parametrize("where", ["../elsewhere", "mvp/../../elsewhere", "/elsewhere", "link/x"])
def test_a_plan_makes_no_runs_outside_of_its_folder(where: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path)
    content = json.loads(planned(home).write(home).read_text())
    content["runs"][1]["folder"] = where if where[0] != "/" else f"{tmp_path}{where}"
    (home / "plan-1.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"(elsewhere|link/x) lies outside of its folder"):
        unfinished_plan(home)


def test_a_plan_that_a_kill_left_empty_hides_no_other(tmp_path: Path) -> None:
    made = planned(tmp_path)
    made.write(tmp_path)
    (tmp_path / "plan-2.json").touch()
    assert unfinished_plan(tmp_path).command == "cl-prompts run digits"
    assert made.write(tmp_path).name == "plan-3.json"


def test_no_plan_is_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned(tmp_path)
    made.write(tmp_path)
    for at in range(count_steps(monkeypatch, lambda: made.write(tmp_path))):
        with_fault(monkeypatch, at, "killed half-way", lambda: made.write(tmp_path))
        assert unfinished_plan(tmp_path) == made


def test_new_paths_are_free_and_have_a_short_label(tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=4"])
    settings.strategy = "package.module:MyMethod"
    paths = [new_path(tmp_path, settings) for _ in range(3)]
    assert all(path.is_dir() for path in paths)
    assert {path.parent for path in paths} == {tmp_path / "digits" / "MyMethod"}
    assert len(set(paths)) == 3
    assert all(path.name.startswith("4-") for path in paths)

"""Plans: what was to be run is known after the process has died."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import Settings, plan
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


def test_a_folder_moved_with_its_plan_still_has_its_runs(tmp_path: Path) -> None:
    old = tmp_path / "old"
    new = tmp_path / "new"
    planned(old).write(old)
    old.rename(new)
    assert [run.state for run in unfinished_plan(new).runs] == ["finished", "unfinished", "missing"]


def test_finished_plans_leave_nothing_to_resume(tmp_path: Path) -> None:
    made = planned(tmp_path)
    Plan("command", made.runs[:1]).write(tmp_path)
    with pytest.raises(InputError, match="there is nothing to resume"):
        unfinished_plan(tmp_path)


def test_a_damaged_summary_is_that_of_an_unfinished_run(tmp_path: Path) -> None:
    run = planned(tmp_path).runs[0]
    (run.folder / "summary.json").write_text("[")
    assert run.state == "unfinished"
    (run.folder / "summary.json").unlink()
    assert run.state == "unfinished"


def test_a_changed_plan_is_refused(tmp_path: Path) -> None:
    file = planned(tmp_path).write(tmp_path)
    content = file.read_text()
    assert content.count("seed: 2") == 2  # also of the stream
    file.write_text(content.replace("seed: 2", "seed: 6", 1))
    with pytest.raises(InputError, match=r"no plan that this version can read \(its checksum"):
        unfinished_plan(tmp_path)


@pytest.mark.parametrize("where", ["../elsewhere", "mvp/../../elsewhere", "/elsewhere", "link/x"])
def test_a_plan_makes_no_runs_outside_of_its_folder(where: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "link").symlink_to(tmp_path)
    content = json.loads(planned(home).write(home).read_text())
    del content["sha256"]
    content["runs"][1]["folder"] = where if where[0] != "/" else f"{tmp_path}{where}"
    (home / "plan-1.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"(elsewhere|link/x)' lies outside of its folder"):
        unfinished_plan(home)


def test_a_plan_makes_no_two_runs_in_one_folder(tmp_path: Path) -> None:
    content = json.loads(planned(tmp_path).write(tmp_path).read_text())
    del content["sha256"]
    content["runs"][1]["folder"] = f"./{content['runs'][0]['folder']}"
    (tmp_path / "plan-1.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="two of its runs lie in"):
        unfinished_plan(tmp_path)


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


@pytest.mark.parametrize("name", ["ncm@:/abs", "ncm@x/../../y", "ncm@..", "ncm@", "ncm@a\\b"])
def test_no_name_leads_out_of_the_folder(name: str, tmp_path: Path) -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    foreign = replace(settings, strategy=name)
    with pytest.raises(InputError, match="has no usable variant: write one name after the @"):
        Settings.from_yaml(foreign.to_yaml(), trust_code=True)
    for changed in (replace(settings, strategy="../x"), replace(settings, recipe="../x")):
        with pytest.raises(InputError, match=r"'\.\./x' would be the name of a run's folder"):
            new_path(tmp_path / "runs", changed)
    assert not [*tmp_path.iterdir()]

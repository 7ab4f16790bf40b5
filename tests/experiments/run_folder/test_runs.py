"""Run folders read back, or refused with a sentence."""

import json
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.files import READ, SUMS_FILE, check_sums
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def test_collect_takes_run_folders_and_parents_once_and_in_order(runs_folder: Path) -> None:
    runs = collect([runs_folder, runs_folder / "digits" / "mvp"])
    assert [(r.summary["strategy"], r.summary["seed"]) for r in runs] == [
        *((s, seed) for s in ("fine_tuning", "joint", "linear_probe") for seed in (1, 2)),
        *(("mvp", seed) for seed in (1, 2, 3)),
    ]
    assert len(collect([runs[0].folder])) == 1
    assert not runs[-1].finished
    assert not runs[-1].metrics


def test_runs_come_in_the_order_of_their_plans(tmp_path: Path) -> None:
    names = ("mvp", "joint", "linear_probe", "fine_tuning")
    for name in names:
        fake_run(tmp_path, name)
    for number, planned in enumerate((["mvp", "linear_probe"], ["joint", "mvp"])):
        runs = {f"{name}/1-20250101-120000": "" for name in planned}
        plan = tmp_path / "digits" / f"plan-{number}.json"
        plan.write_text(json.dumps({"command": "", "runs": runs}))
    found = [run.summary["strategy"] for run in collect([tmp_path])]
    assert found == ["mvp", "linear_probe", "joint", "fine_tuning"]


def broken(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda at: at / "nowhere", r"there is no folder .*nowhere: give run folders"),
        (lambda at: at, r"there is no run below .*: no folder in it has a summary.json"),
        (
            lambda at: broken(fake_run(at), "summary.json", "{"),
            r"summary.json is not JSON: restore it",
        ),
        (
            lambda at: broken(fake_run(at), SUMS_FILE, "no sums"),
            "config.yaml changed since the run ended",
        ),
        (lambda at: (fake_run(at) / SUMS_FILE).unlink() or at, "has no SHA256SUMS"),
        (lambda at: (fake_run(at) / "summary.json").unlink() or at, "has no summary.json: restore"),
    ],
)
def test_bad_folders_are_refused_by_name(tmp_path: Path, make: Any, sentence: str) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=sentence):
        collect([path])


def test_a_run_that_was_killed_at_its_start_hides_no_other(tmp_path: Path) -> None:
    finished = fake_run(tmp_path)
    killed = tmp_path / "killed"
    killed.mkdir()
    (killed / "config.yaml").touch()
    (killed / "metrics.csv").touch()
    assert [run.folder for run in collect([tmp_path])] == [finished]


@pytest.mark.parametrize("name", READ)
def test_a_finished_run_that_was_edited_is_refused(name: str, tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    check_sums(folder)
    with (folder / name).open("a") as file:  # or added
        file.write(" ")
    with pytest.raises(InputError, match=rf"{name} changed since the run ended"):
        collect([folder])


def test_only_what_is_read_is_compared(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    (folder / "model/model.safetensors").write_bytes(b"of another run")
    check_sums(folder)
    with pytest.raises(InputError, match=r"model\.safetensors changed since"):
        check_sums(folder, ["model/model.safetensors"])

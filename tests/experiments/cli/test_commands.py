"""Commands: what they print and write."""

import csv
import errno
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.cli import entry, main
from cl_prompts.experiments.cli.entry import parsed
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.run_folder.plans import PlannedRun, write_plan
from cl_prompts.experiments.trained import exporting
from tests.experiments.commands import rows, summary
from tests.experiments.fake_runs import fake_run
from tests.experiments.own_photos import photos


def test_latest_is_the_newest_finished_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    days = {1: "2026-01-02", 2: "2026-01-03", 3: "2026-01-01", 4: "2026-01-04"}
    runs = {seed: fake_run(here / "runs", seed=seed) for seed in days}
    for seed, folder in runs.items():
        environment = {"time": f"{days[seed]} 10:00:00 +0000"}
        (folder / "environment.json").write_text(json.dumps(environment))
    file = runs[4] / "summary.json"
    file.write_text(file.read_text().replace('"finished"', '"failed"'))
    assert main(["ls", "runs"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[2] for line in lines] == ["3", "1", "2", "4"]
    assert [" ".join(line.split()[3:5]) for line in lines[2:]] == ["A_AUC 66.4", "failed 10"]
    wanted = Path("runs", runs[2].relative_to(here / "runs"))
    assert parsed(["report", "latest"])[1]["runs"] == [wanted]


def test_latest_is_the_newest_model_and_of_several_strategies_the_first(here: Path) -> None:
    home = Path("runs", "digits")
    first, second, single = (
        fake_run(Path("runs"), strategy, recipe=recipe)
        for strategy, recipe in (("mvp", "digits"), ("joint", "digits"), ("mvp", "other"))
    )
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    write_plan(home, [PlannedRun(folder, settings, "typed") for folder in (first, second)])
    (here / "models" / "zoo").mkdir(parents=True)
    for number, (written, wanted) in enumerate(
        [(second / "model", first), (single / "model", single), (Path("models/zoo"),) * 2], 1
    ):
        (written / "model.json").touch()
        os.utime(written / "model.json", (2e9 + number,) * 2)
        assert parsed(["predict", "latest", "a.png"])[1]["model"] == wanted


def test_settings_may_stand_before_and_behind_options() -> None:
    command, args = parsed(["run", "digits", "seed=1", "--jobs", "3", "n_tasks=2"])
    assert (command.__name__, args["recipe"]) == ("run", "digits")
    assert (args["settings"], args["jobs"], args["out"]) == (
        ["seed=1", "n_tasks=2"],
        3,
        Path("runs"),
    )
    _, args = parsed(["predict", "run", "a.png", "b.png", "--all-scores"])
    assert args["images"] == [Path("a.png"), Path("b.png")]
    assert (args["all_scores"], args["trust_code"]) == (True, False)


def test_the_help_has_examples_that_are_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    examples = [line.split("  ")[1] for line in lines if line.startswith("  cl-prompts ")]
    found = [parsed(example.split()[1:])[0].__name__ for example in examples]
    assert found == ["train", "run", "show"]


@pytest.mark.parametrize(("number", "code"), [(errno.ENOENT, 2), (errno.ENOSPC, 1)])
def test_a_wrong_path_is_bad_input_and_a_full_disk_a_fault(
    number: int, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(arguments: object) -> None:
        raise OSError(number, "reason", "some/path")

    monkeypatch.setattr(entry, "carry_out", fail)
    assert main(["ls"]) == code
    assert capsys.readouterr().err == "cl-prompts: some/path: reason\n"


@pytest.mark.slow
def test_from_a_folder_to_labels(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], refused: Any
) -> None:
    photos(here / "My photos", {"cat": 30, "dog": 30, "owl": 20})
    assert main(["init", "My photos"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "3 classes, 64 training and 16 test images"
    assert "wrote My_photos.yaml; next: cl-prompts run My_photos.yaml" in told
    refused("My_photos.yaml exists already", "init", "My photos")
    assert main(["init", "My photos", "--force", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["run", "My_photos.yaml", "strategy=ncm", "seed=1", "--quiet"]) == 0
    assert main(["ls", "runs"]) == 0
    assert "My_photos  ncm     1     A_AUC " in capsys.readouterr().out
    (folder,) = (here / "runs" / "My_photos" / "ncm").iterdir()
    assert summary(folder)["recipe"] == "My_photos"
    points = [row for row in rows(folder) if row[1:3] == ["anytime_accuracy", "seen"]]
    assert len(points) >= 20
    assert main(["predict", "latest", "My photos/cat", "My photos/owl/000.png"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(found) == 31
    assert {row["label"] for row in found} <= {"cat", "dog", "owl"}
    assert main(["predict", str(folder), "My photos/cat", "--unknown", "0.4"]) == 0
    labels = [row["label"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert 0 < labels.count("unknown") < len(labels)
    monkeypatch.setattr(exporting, "_converted", lambda model, form: form.encode())
    assert main(["export", str(folder), "--torch"]) == 0
    assert (folder / "model.pt2").read_text() == "torch"


def test_unfinished_runs_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [fake_run(tmp_path, seed=seed) for seed in (1, 2)]
    assert main(["compare", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    file = runs[1] / "summary.json"
    file.write_text(file.read_text().replace('"finished"', '"failed"'))
    assert main(["compare", str(tmp_path), str(tmp_path / ".")]) == 0
    assert capsys.readouterr().err == f"note: unfinished runs are left out: {runs[1]}\n"


def test_validate_shows_the_stream_of_each_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "digits", "seed=1,2", "strategy=ncm,er", "n_tasks=3"]) == 0
    told = capsys.readouterr().out
    assert told.count("Si-Blurry split: 3 tasks") == 2
    assert "digits is valid: 4 runs (ncm, er)" in told
    assert main(["validate", "digits", "seed=1-3", "stream_seed=4", "strategy=ncm"]) == 0
    assert capsys.readouterr().out.count("Si-Blurry split: 5 tasks") == 1


def test_report_and_compare_print_and_write(
    runs_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pages: None
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(runs_folder), "--out", str(page)]) == 0
    assert f"report: {page}" in capsys.readouterr().out
    assert "linear_probe" in page.read_text()
    home = str(runs_folder / "digits")
    assert main(["compare", home, "--rows", "mvp,linear_probe", "--reference", "mvp"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("## digits\n")
    assert "difference from mvp" in told
    assert main(["compare", home, "--format", "latex"]) == 0
    assert "\\toprule" in capsys.readouterr().out

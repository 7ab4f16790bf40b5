"""Commands on one's own images: from a folder to a label."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from rich.panel import Panel
from rich.text import Text

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import actions, main
from cl_prompts.experiments.cli.actions import ACTIONS
from cl_prompts.experiments.cli.arguments import parsed
from cl_prompts.experiments.runner import own_images
from tests.experiments.commands import rows, summary
from tests.experiments.fake_runs import fake_run
from tests.experiments.own_photos import photos


@pytest.mark.slow
def test_from_a_folder_to_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "My photos", {"cat": 30, "dog": 30, "owl": 20})
    assert main(["init", "My photos"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "3 classes, 64 training and 16 test images"
    assert told[-1] == "wrote My_photos.yaml; next: cl-prompts run My_photos.yaml"
    assert main(["init", "My photos"]) == 2
    assert "My_photos.yaml exists already" in capsys.readouterr().err
    assert main(["init", "My photos", "--force", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert main(["run", "My_photos.yaml", "strategy=ncm", "seed=1", "--quiet"]) == 0
    (folder,) = (tmp_path / "runs" / "My_photos" / "ncm").iterdir()
    assert summary(folder)["recipe"] == "My_photos"
    points = [row for row in rows(folder) if row[1:3] == ["anytime_accuracy", "seen"]]
    assert len(points) >= 20
    assert main(["predict", str(folder), "My photos/cat", "My photos/owl/000.png"]) == 0
    found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(found) == 31
    assert {row["label"] for row in found} <= {"cat", "dog", "owl"}
    assert main(["predict", str(folder), "My photos/cat", "--unknown", "0.4"]) == 0
    labels = [row["label"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))]
    assert 0 < labels.count("unknown") < len(labels)
    assert main(["predict", str(folder), "My photos/cat", "--unknown", "0.01"]) == 2
    assert "the run has held out 16 test images" in capsys.readouterr().err
    assert main(["predict", str(folder), "nothing.png"]) == 2
    assert main(["export", str(folder), "--torch"]) == 0
    assert "on the test set" in capsys.readouterr().out
    assert (folder / "model.pt").is_file()


def test_what_takes_the_place_of_a_proposal_meanwhile_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos(tmp_path / "photos", {"cat": 4, "dog": 4})
    monkeypatch.chdir(tmp_path)
    assert main(["init", "photos", "--quiet"]) == 0
    place = tmp_path / "photos.yaml"
    survey = own_images.survey

    def surveyed(*args: Any, **how: Any) -> Any:
        place.write_text("mine")
        return survey(*args, **how)

    monkeypatch.setattr(own_images, "survey", surveyed)
    assert main(["init", "photos", "--force", "--quiet"]) == 2
    assert "photos.yaml is no recipe that init proposed" in capsys.readouterr().err
    assert place.read_text() == "mine"


@pytest.mark.parametrize(
    "command",
    [
        "compare .",
        "predict . cat.png",
        "export . --torch",
        "init photos --force",
        "init photos",
    ],
)
@pytest.mark.parametrize("place", ["config.yaml", "link.yaml"])
def test_no_command_writes_over_a_file_that_it_did_not_make(
    command: str,
    place: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text("strategy: mvp\n")
    (tmp_path / "link.yaml").symlink_to("nothing")
    assert main([*command.split(), "--out", place]) == 2
    said = capsys.readouterr().err
    assert place in said
    assert "give --out another name" in said
    assert (tmp_path / "config.yaml").read_text() == "strategy: mvp\n"
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("command", ACTIONS)
def test_every_command_is_parsed_under_its_name(command: str) -> None:
    needed = {
        "predict": ["run", "image"],
        "export": ["run", "--torch"],
        "learn": ["run", "images"],
        "push": ["run", "me/name"],
    }
    assert parsed([command, *needed.get(command, ["digits"])]).action == command


def test_a_resumed_run_has_its_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--resume", "runs", "--out", "elsewhere"]) == 2
    assert "--out is for new runs" in capsys.readouterr().err


def test_a_search_is_checked_with_what_is_fixed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """``lr`` is a setting of the strategy that is asked for, and of none in the recipe."""
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("extends: digits\nrun: [ncm]\nstrategies: {ncm: {}}\n")

    def searched(recipe: str, settings: list[str], *others: object, **more: object) -> None:
        raise InputError(f"searched {' '.join(settings)}")

    monkeypatch.setattr("cl_prompts.experiments.sweeps.search.Search", searched)
    asked = ["strategy=er_ace", "lr=1e-4..1e-1"]
    assert main(["sweep", str(recipe), *asked, "--sampler", "tpe"]) == 2
    assert f"searched {' '.join(asked)}" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["compare run --out", "init photos --quiet --out"])
def test_a_file_that_appears_while_a_command_works_is_kept(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    fake_run(tmp_path / "run")
    photos(tmp_path / "photos", {"cat": 4, "dog": 4})
    checked = actions.files.check_place

    def then_appears(path: Path) -> None:
        checked(path)
        path.write_text("mine")

    monkeypatch.setattr(actions.files, "check_place", then_appears)
    assert main([*command.split(), "out.yaml"]) == 2
    assert "out.yaml exists already: remove it" in capsys.readouterr().err
    assert (tmp_path / "out.yaml").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_a_row_of_several_settings_is_named_as_it_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for second in range(2):
        settings = {"lr": second, "alpha": second}
        fake_run(tmp_path, settings=settings, time=f"20250101-00000{second}")
    row = "mvp (alpha=1, lr=1)"
    assert main(["compare", str(tmp_path), "--rows", f"{row},mvp (alpha=0, lr=0)"]) == 0
    assert f"| {row} |" in capsys.readouterr().out


def test_runs_that_are_not_finished_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [fake_run(tmp_path, seed=seed) for seed in (1, 2)]
    assert main(["compare", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
    file = runs[1] / "summary.json"
    file.write_text(file.read_text().replace('"finished"', '"failed"'))
    assert main(["compare", str(tmp_path), str(tmp_path / ".")]) == 0
    assert capsys.readouterr().err == f"note: not finished, and in no table: {runs[1]}\n"


def test_no_name_commands_the_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")  # wide enough for the whole name
    name = "[red]a\x1b]0;title\x07"
    named = {"class_names": ["cat\x1b[2J", "d\u00f6g"], "own_scores": ["[/t]op"]}
    named["results"] = {"a_last": 0.5, "[/t]op": 0.5}
    run = fake_run(tmp_path, name=name, n_classes=2, **named)
    assert main(["compare", str(run), "--format", "csv"]) == 0
    assert "[red]a\\x1b]0;title\\x07" in capsys.readouterr().out
    console = actions.console_of(quiet=False)
    for table in actions.tables([run]):
        console.print(table)
    console.print(f"lesson :cat: {name}", markup=False)
    console.print(Text(name), Panel(Text(name)))
    printed = capsys.readouterr().out
    assert "[/t]op" in printed
    assert "lesson :cat: " in printed
    assert printed.count("[red]a\\x1b]0;title\\x07") == 2
    assert printed.count("[red]a\\x1b]0;title") == 4
    assert "\x1b" not in printed


@pytest.mark.usefixtures("pages")
def test_no_folder_writes_a_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mine\nwrote nothing"
    run = fake_run(folder)
    assert main(["report", str(run)]) == 0
    shown = str(folder).replace("\n", "\\n")
    assert capsys.readouterr().out == f"report: {shown}/{run.relative_to(folder)}/report.html\n"
    photos(tmp_path / "photos", {"cat": 6, "dog": 6})
    assert main(["init", str(tmp_path / "photos"), "--out", str(folder / "own.yaml")]) == 0
    wrote = f"wrote {shown}/own.yaml; next: cl-prompts run FOLDER"
    assert capsys.readouterr().out.splitlines()[-1] == wrote

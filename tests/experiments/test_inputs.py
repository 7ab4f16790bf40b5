"""Whatever enters the numbers of a run is known by its content: files, code, images, weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_prompts.experiments.cli import main
from tests.experiments.commands import unfinished_copy
from tests.experiments.inputs import EDITS, MISA_RUN, OWN_RUN, write_inputs

pytestmark = pytest.mark.slow


def forget() -> None:
    """Be a new process, for modules of one's own."""
    sys.modules.pop("mine", None)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with code of one's own and warmed-up prompts."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_inputs()
    yield tmp_path
    forget()


def made(*settings: str) -> Path:
    """Folder of a finished run."""
    before = set(Path("runs").rglob("summary.json"))
    forget()
    assert main(["run", "digits", *settings, "--quiet"]) == 0
    (new,) = set(Path("runs").rglob("summary.json")) - before
    return new.parent


def rows_of_comparison(capsys: pytest.CaptureFixture[str]) -> list[int]:
    """The seeds of each row in which the runs so far are compared."""
    capsys.readouterr()
    assert main(["compare", "runs", "--format", "json"]) == 0
    records = json.loads(capsys.readouterr().out)
    return sorted(row["seeds"] for row in records if row["metric"] == "a_last")


@pytest.mark.parametrize("settings", [MISA_RUN, OWN_RUN], ids=["prompts", "own code"])
def test_a_change_between_seeds_divides_rows_and_one_before_a_resume_is_refused(
    settings: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edits = [edit for edit in EDITS.values() if edit[0] == settings]
    first = made(*settings, "seed=1")
    unfinished_copy(first, Path("unfinished"))
    made(*settings, "seed=2")
    assert rows_of_comparison(capsys) == [2]
    for seed, (_, edit, says) in enumerate(edits, 3):
        write_inputs()
        edit()
        forget()
        assert main(["run", "--resume", "unfinished", "--trust-code", "--quiet"]) == 2
        said = capsys.readouterr().err
        assert says in said
        assert said.count("\n") == 1
        made(*settings, f"seed={seed}")
    assert rows_of_comparison(capsys) == [*[1] * len(edits), 2]

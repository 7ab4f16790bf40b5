"""Whatever enters the numbers of a run is known by its content: files, code, images, weights."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from cl_prompts.experiments.cli import main
from cl_prompts.experiments.run_folder.checksums import SUMS_FILE
from tests.experiments.commands import QUICK, unfinished_copy
from tests.experiments.inputs import EDITS, MISA_RUN, OWN_RUN, replaced, write_inputs
from tests.experiments.own_photos import photo

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
    photo(tmp_path / "a.png", 1)
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


@pytest.mark.parametrize("command", [["predict", "run", "a.png"], ["export", "run", "--torch"]])
def test_foreign_weights_are_refused(
    command: list[str], here: Path, mvp_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(mvp_run, "run")
    assert {"learned.safetensors", "checkpoint", "checkpoint.previous"} <= {
        line.split()[1] for line in Path("run", SUMS_FILE).read_text().splitlines()
    }
    file = Path("run", "learned.safetensors")
    save_file({name: value + 1 for name, value in load_file(file).items()}, file)
    assert main(command) == 2
    assert "learned.safetensors changed since the run ended" in capsys.readouterr().err
    Path("run", SUMS_FILE).unlink()
    assert main(command) == 2
    assert "run has no SHA256SUMS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (replaced("mine.py", "self.lr = 1.0", "self.lr = 2.0"), "the code of mine:Mine"),
        (replaced("table.txt", "0.005", "0.006"), "the file of its setting options.table changed"),
    ],
)
def test_a_run_whose_code_or_files_changed_is_not_loaded(
    edit: Callable[[], None], says: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(made(*OWN_RUN[:1], *QUICK, "seed=1"))
    predict = ["predict", folder, "a.png", "--trust-code"]
    Path("mine.py").write_text(f"# a comment\n{Path('mine.py').read_text()}")
    forget()
    main(predict)
    assert "cannot be loaded" not in capsys.readouterr().err
    edit()
    forget()
    assert main(predict) == 2
    assert f"cannot be loaded: {says}" in capsys.readouterr().err

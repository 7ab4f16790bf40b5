"""The command line as a module."""

from __future__ import annotations

import runpy
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from cl_prompts.experiments import cli


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of this process, which the module sets to the end of its own."""
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)


def test_the_module_is_the_command_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["cl_prompts", "show", "strategy", "nothing"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("cl_prompts", run_name="__main__")
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("cl-prompts: ")


def test_it_does_nothing_when_it_is_imported() -> None:
    assert callable(runpy.run_module("cl_prompts.__main__", run_name="elsewhere")["main"])


@pytest.mark.parametrize("form", ["-m cl_prompts", "-mcl_prompts", "-u -m cl_prompts.__main__"])
def test_modules_in_the_current_folder_are_not_run(form: str, tmp_path: Path) -> None:
    for name in ("ast", "hashlib", "json", "typing", "argparse", "numpy", "rich", "yaml"):
        (tmp_path / f"{name}.py").write_text("open('executed', 'w')")
    words = [sys.executable, *form.split(), "show", "strategy", "nothing"]
    ended = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
    assert ended.stderr.startswith("cl-prompts: unknown strategy 'nothing'")
    assert ended.returncode == 2
    assert not (tmp_path / "executed").exists()


def test_another_module_of_the_current_folder_may_import_the_package(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__init__.py").write_text("import cl_prompts")
    (tmp_path / "mine" / "__main__.py").write_text("import beside")
    (tmp_path / "beside.py").write_text("print('beside')")
    words = [sys.executable, "-m", "mine", "cl_prompts"]
    assert subprocess.run(words, capture_output=True, text=True, cwd=tmp_path).stdout == "beside\n"


def test_no_name_in_a_warning_or_traceback_commands_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails() -> None:
        raise KeyError("dog") from ValueError("dog\x1b[2J")

    monkeypatch.setattr(cli, "main", fails)
    with pytest.raises(KeyError, match="dog") as told:
        runpy.run_module("cl_prompts.__main__", run_name="elsewhere")["main"]()
    sys.excepthook(told.type, told.value, told.tb)
    said = capsys.readouterr().err
    assert said.endswith("\nKeyError: 'dog'\n")
    assert "ValueError: dog\\x1b[2J\n" in said
    assert "\x1b" not in said
    warned = warnings.formatwarning("cat\x1b[2J", UserWarning, "own.py", 1, "")
    assert warned == "own.py:1: UserWarning: cat\\x1b[2J\n"


def test_processes_begun_from_it_run_no_file_of_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pickle.py").write_text("open('executed', 'w')")
    monkeypatch.chdir(tmp_path)
    begin = [sys.executable, "-c", "from multiprocessing import spawn"]
    monkeypatch.setattr(cli, "main", lambda: subprocess.run(begin, check=True).returncode)
    assert runpy.run_module("cl_prompts.__main__", run_name="elsewhere")["main"]() == 0
    assert not (tmp_path / "executed").exists()

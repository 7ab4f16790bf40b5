"""The command line as a module, which is what ``torchrun -m`` starts."""

from __future__ import annotations

import runpy
import sys

import pytest


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

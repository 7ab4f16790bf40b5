"""What looks at reports in a browser needs none to be asked."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.experiments.check_report import browser_file, main


def test_without_its_packages_it_says_that_nothing_was_checked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "playwright.sync_api", None)
    monkeypatch.setitem(sys.modules, "axe_playwright_python.sync_playwright", None)
    assert main([]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("check-report: skipped, nothing was checked: ")


def test_a_browser_can_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CHROMIUM", "/some/browser")
    assert browser_file() == "/some/browser"
    monkeypatch.delenv("CHROMIUM")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert browser_file() is None

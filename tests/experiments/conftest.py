"""Run folders that tests read and never change, and what tests of runs do without."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from cl_prompts.experiments import glyphs, report
from cl_prompts.experiments.report import write_report
from tests.experiments.commands import MVP_R, PROBE, run
from tests.experiments.fake_runs import LEVEL, fake_run

#: files whose tests look at what is drawn; so do all of ``pictures/``
DRAWN = {"test_report.py", "test_report_views.py", "test_run_pictures.py"}


@contextmanager
def sketched(*, pages: bool = False) -> Iterator[None]:
    """Runs without what takes longer than their training.

    Their pictures are composed, named and written as ever, but left blank; no disk is waited for,
    since what a killed process has written is there without; and no report is made.

    Args:
        pages: make reports nevertheless.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", lambda self, renderer: None)
        patch.setattr(os, "fsync", lambda handle: None)
        if not pages:
            patch.setattr(report, "write_report", lambda folders, out=None: out)
        yield


@pytest.fixture
def pages() -> None:
    """Asks for reports."""


@pytest.fixture(autouse=True)
def _sketched(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.name in DRAWN or request.path.parent.name == "pictures":
        yield
    else:
        with sketched(pages="pages" in request.fixturenames):
            yield


@pytest.fixture(scope="session")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four strategies, two seeds, one run that failed."""
    root = tmp_path_factory.mktemp("runs")
    for strategy in LEVEL:
        for seed in (1, 2):
            fake_run(root, strategy, seed)
    fake_run(root, "mvp", 3, status="failed")
    return root


@pytest.fixture(scope="session")
def page(runs_folder: Path) -> str:
    return write_report([runs_folder]).read_text()


@pytest.fixture(scope="session")
def mvp_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of MVP with a replay buffer."""
    return _finished(tmp_path_factory.mktemp("mvp"), *MVP_R)


@pytest.fixture(scope="session")
def probe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the linear probe."""
    return _finished(tmp_path_factory.mktemp("probe"), *PROBE)


def _finished(out: Path, *settings: str) -> Path:
    with sketched():
        code, (folder,) = run(out, "digits", *settings)
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def two_glyphs() -> glyphs.GlyphTable:
    bundled = glyphs.find_fonts("IO", (glyphs.bundled_fonts(),))
    return glyphs.render_table(
        {path: name for path, name in bundled.items() if path.stem == "DejaVuSans"}, "IO"
    )

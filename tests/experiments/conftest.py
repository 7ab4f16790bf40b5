"""Run folders that tests read and never change."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.experiments import glyphs
from cl_prompts.experiments.report import write_report
from tests.experiments.commands import MVP_R, PROBE, run
from tests.experiments.fake_runs import LEVEL, fake_run


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
    code, (folder,) = run(tmp_path_factory.mktemp("mvp"), "digits", *MVP_R)
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def probe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the linear probe."""
    code, (folder,) = run(tmp_path_factory.mktemp("probe"), "digits", *PROBE)
    assert code == 0
    return folder


@pytest.fixture(scope="session")
def two_glyphs() -> glyphs.GlyphTable:
    bundled = glyphs.find_fonts("IO", (glyphs.bundled_fonts(),))
    return glyphs.render_table(
        {path: name for path, name in bundled.items() if path.stem == "DejaVuSans"}, "IO"
    )

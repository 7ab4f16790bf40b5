"""Run folders that tests read and never change, and what tests of runs do without."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cl_prompts.experiments.report import page as report
from tests.experiments.commands import MVP_R, PROBE, run
from tests.experiments.fake_runs import LEVEL, fake_run
from tests.experiments.sketches import sketched
from tests.few_images import few_images

#: files whose tests look at reports
PAGES = {"test_page.py"}


@pytest.fixture
def pages() -> None:
    """Asks for reports."""


@pytest.fixture(autouse=True)
def _sketched(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.parent.name == "figures":
        yield
    else:
        with sketched(pages="pages" in request.fixturenames or request.path.name in PAGES):
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
    return report.write_report([runs_folder]).read_text()


@pytest.fixture(scope="session")
def mvp_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(tmp_path_factory.mktemp("mvp"), *MVP_R, "checkpoint_every=200")


@pytest.fixture(scope="session")
def probe_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _finished(tmp_path_factory.mktemp("probe"), *PROBE)


@pytest.fixture(scope="session")
def scenes_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = ["strategy=multi_label_ridge", "protocol=B0-C5", "seed=1"]
    with few_images():
        return _finished(tmp_path_factory.mktemp("scenes"), *settings, recipe="digit_scenes")


def _finished(out: Path, *settings: str, recipe: str = "digits") -> Path:
    with sketched():
        code, (folder,) = run(out, recipe, *settings)
    assert code == 0
    return folder

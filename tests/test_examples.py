"""The examples from outside the package: as scripts, and as parts that the command line runs."""

import multiprocessing
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import pytest

import cl_prompts
from cl_prompts.experiments.cli import main
from tests.experiments.commands import change_summary, rows, summary
from tests.experiments.sketches import sketched
from tests.few_images import few_images
from tests.forked import forked

ROOT = Path(cl_prompts.__file__).parents[1]
EXAMPLES = sorted((ROOT / "examples").glob("own_*.py"))
QUICK = ["seed=1", "classes=3", "every=20", "train_mb_size=16", "online_iter=1"]


def commands(folder: Path, *lines: list[str]) -> str:
    """What these ``cl-prompts`` commands print in one process, which stands in ``folder``; only the
    package is known there. There are few images, and pictures are blank.
    """

    def work() -> int:
        os.chdir(folder)
        sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != ROOT]
        with sketched(pages=True), few_images(train=8, test=3):
            return max(main(line) for line in lines)

    done = forked(work)
    assert done.code == 0, done.err
    return done.out


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A folder with copies of the examples, far from the repository."""
    for example in EXAMPLES:
        shutil.copy(example, tmp_path)
    return tmp_path


@pytest.mark.slow
def test_own_prompt_method_is_run_resumed_and_reported(here: Path) -> None:
    method = "own_prompt_method:DeepPrompt"
    settings = [f"strategy={method},ncm", "DeepPrompt.prompt_length=2", "n_tasks=2", *QUICK]
    told = commands(
        here, ["validate", "digits", *settings], ["run", "digits", *settings, "--out", "runs"]
    )
    assert "(DeepPrompt, ncm)" in told
    (folder,) = (here / "runs" / "digits" / "DeepPrompt").iterdir()
    said = summary(folder)
    assert (said["status"], said["strategy"]) == ("finished", method)
    assert said["trainable_parameters"] == 6 * 2 * 128 + 128 * 3 + 3
    # As if its process had been killed at the end.
    change_summary(folder, status="running")
    commands(here, ["run", "--resume", str(folder), "--trust-code", "--quiet"], ["report", "runs"])
    assert summary(folder)["results"] == said["results"]
    page = (here / "runs" / "report.html").read_text()
    assert ">DeepPrompt</" in page
    assert f"strategy: {method}" in page


@pytest.mark.slow
def test_own_scenario_is_run_from_a_recipe(here: Path) -> None:
    recipe = "extends: digits\nscenario: {name: 'own_scenario:recurring_classes', visits: 3}\n"
    (here / "mine.yaml").write_text(recipe)
    settings = ["mine.yaml", "strategy=ncm", *QUICK]
    trust = "--trust-code"
    told = commands(
        here, ["validate", *settings, trust], ["run", *settings, trust, "--out", "runs", "--quiet"]
    )
    assert "recurring classes split: 9 tasks, 3 classes" in told
    (folder,) = (here / "runs" / "mine" / "ncm").iterdir()
    assert (summary(folder)["status"], summary(folder)["n_tasks"]) == ("finished", 9)
    page = next((here / "runs" / "mine").glob("report-*.html")).read_text()
    assert "scenario <b>recurring_classes</b>" in page


@pytest.mark.slow
def test_own_plugin_and_metric_are_run_and_resumed(here: Path) -> None:
    plugin = "own_plugin:CentreLoss"
    names = [f"plugins={plugin},own_metric:WorstClass", f"{plugin}.weight=3"]
    settings = ["strategy=linear_probe", *names, "n_tasks=2", *QUICK]
    commands(here, ["run", "digits", *settings, "--out", "runs", "--quiet"])
    (folder,) = (here / "runs" / "digits" / "linear_probe").iterdir()
    assert f"{plugin}:\n      weight: 3" in (folder / "config.yaml").read_text()
    results = summary(folder)["results"]
    found = [row for row in rows(folder) if row[1] == "worst_class"]
    ends = [float(row[3]) for row in found if row[2] == "task_end"]
    assert len(found) > len(ends) == 2
    assert results["worst_class"] == pytest.approx(ends[-1])
    assert results["worst_class"] <= results["a_last"]
    (logger,) = folder.glob("events.*")
    assert b"worst_class/task_end" in logger.read_bytes()
    # As if its process had been killed at the end.
    change_summary(folder, status="running")
    commands(here, ["run", "--resume", str(folder), "--trust-code", "--quiet"])
    assert summary(folder)["results"] == results


@contextmanager
def forked_kernel(folder: Path) -> Iterator[Any]:
    """A kernel in a fork of this process, which has imported everything; its manager."""
    from ipykernel.kernelapp import launch_new_instance
    from jupyter_client.manager import AsyncKernelManager

    class Manager(AsyncKernelManager):
        has_kernel = True  # so that none is started

    manager = Manager(connection_file=str(folder / "kernel.json"), owns_kernel=False)
    manager.write_connection_file()
    with chdir(folder):
        kernel = multiprocessing.get_context("fork").Process(
            target=launch_new_instance, args=(["-f", manager.connection_file],)
        )
        kernel.start()
    try:
        yield manager
    finally:
        kernel.kill()
        kernel.join()


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    notebook = nbformat.read(ROOT / "examples" / "first_steps.ipynb", 4)
    nbformat.validate(notebook)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # kept without
    with sketched(pages=True), few_images(train=6), forked_kernel(tmp_path) as kernel:
        nbclient.NotebookClient(notebook, timeout=300, km=kernel).execute()
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    kinds = [kind for output in shown for kind in output.get("data", {})]
    assert "image/png" in kinds
    (table,) = (o["data"]["text/markdown"] for o in shown if "text/markdown" in o.get("data", {}))
    assert "| linear_probe |" in table
    assert "A_AUC" in shown[-1]["text"]
    # The progress is a line a run, and none for each moment.
    progress = [o["data"]["text/plain"] for o in shown if "text/html" in o.get("data", {})]
    assert [line.split(",")[0] for line in progress] == [f"run {n} of 4" for n in range(1, 5)]

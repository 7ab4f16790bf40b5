"""Shared by all tests: one thread a process, a tiny ViT, and which files are slow."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from tests.toys import ALL, tiny_vit

torch.set_num_threads(1)

#: files that ``make quick`` leaves out as a whole; single tests are marked where they stand
SLOW = {
    "datasets/test_views.py",
    "experiments/pictures/test_heatmaps.py",
    "experiments/pictures/test_inside.py",
    "experiments/pictures/test_multi_label.py",
    "experiments/test_bad_inputs.py",
    "experiments/test_board.py",
    "experiments/test_cli.py",
    "experiments/test_exporting.py",
    "experiments/test_inside.py",
    "experiments/test_pretrain_glyphs.py",
    "experiments/test_recipe_files.py",
    "experiments/test_report.py",
    "experiments/test_report_views.py",
    "experiments/test_run_folder.py",
    "experiments/test_runner.py",
    "experiments/test_stops.py",
    "experiments/test_tracking.py",
    "experiments/test_trained.py",
    "families/test_avalanche_habits.py",
    "families/test_learning.py",
    "families/test_matrix.py",
    "families/test_memory_use.py",
    "families/test_mini_experiences.py",
    "strategies/base/test_head_alignment.py",
    "strategies/base/test_prompt_rates.py",
    "strategies/base/test_prompt_writing.py",
    "strategies/base/test_self_regulation.py",
    "test_examples_in_docstrings.py",
    "test_readme.py",
}
#: strategies of the table that ``make quick`` takes, one of each kind
QUICK = {
    "clib",
    "coda_prompt",
    "er",
    "fine_tuning",
    "hide_prompt",
    "joint",
    "linear_probe",
    "multi_lane",
    "mvp",
    "ncm",
    "ranpac",
}
TESTS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files, and those of further strategies."""
    missing = [file for file in SLOW if not (TESTS / file).is_file()]
    assert not missing, f"tests/conftest.py: SLOW names files that are gone: {missing}"
    for item in items:
        if item.path.relative_to(TESTS).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)
        kind = getattr(item, "callspec", None) and item.callspec.params.get("kind")  # type: ignore[attr-defined]
        if kind in ALL and kind not in QUICK:
            item.add_marker(pytest.mark.slow)


def pytest_collection_finish() -> None:
    """Take what is imported and collected off the garbage collector, which else walks through it
    again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def vit() -> FrozenViT:
    """A fresh tiny frozen ViT."""
    return tiny_vit()

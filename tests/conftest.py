"""Shared by all tests: one thread a process, a tiny ViT, and which files are slow."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from tests.toys import tiny_vit

torch.set_num_threads(1)

#: files that ``make quick`` leaves out as a whole; single tests are marked where they stand
SLOW = {
    "experiments/test_cli.py",
    "experiments/test_glyph_vit.py",
    "experiments/test_multi_label_pictures.py",
    "experiments/test_pictures.py",
    "experiments/test_pictures_inside.py",
    "experiments/test_pretrain_glyphs.py",
    "experiments/test_report.py",
    "experiments/test_runner.py",
    "experiments/test_runs.py",
    "families/test_learning.py",
    "families/test_matrix.py",
    "families/test_memory_use.py",
    "families/test_mini_experiences.py",
    "test_readme.py",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of slow files."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).as_posix() in SLOW:
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def vit() -> FrozenViT:
    """A fresh tiny frozen ViT."""
    return tiny_vit()

"""The short form of the fuzz run: what is made up is built as it says, or refused in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments import spoilt_files
from tests.experiments.fuzz import run
from tests.few_images import few_images


@pytest.mark.slow
def test_recipes_are_built_or_refused(tmp_path: Path) -> None:
    with few_images(3, 3):
        counts, problems = run(60, 0, tmp_path)
    assert not problems, problems[0]
    assert counts["cases"] == counts["built"] + counts["refused"] == 60
    assert counts["built"] >= 0.4 * 60
    assert counts["refused"] > 5
    assert counts["trained"] > 1


@pytest.mark.slow
def test_spoilt_files_are_refused_or_read(tmp_path: Path) -> None:
    counts, problems = spoilt_files.run(200, 0, tmp_path)
    assert not problems, problems[0]
    assert counts["cases"] == counts["read"] + counts["refused"] == 200
    assert min(counts[kind] for kind in spoilt_files.KINDS) > 10

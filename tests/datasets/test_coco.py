"""COCO in miniature: label rules, and what each refusal says."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.datasets import coco
from tests.datasets.toys import grey, load, shown, write_coco


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco(tmp_path: Path, year: int) -> None:
    data = load(f"coco{year}", write_coco(tmp_path, year))
    assert len(data.classes) == 80
    assert (data.classes[0], data.classes[1], data.classes[79]) == ("airplane", "apple", "zebra")
    assert grey(data.train) == pytest.approx([30, 50, 70], abs=1)  # in the order of ids
    assert data.train.targets.sum(axis=1).tolist() == [40, 0, 40]
    names = list(coco.CATEGORIES.values())
    assert shown(data, 2) == set(names[:40])  # crowds count
    assert shown(data, 0) == set(names[40:])
    assert data.test.targets.tolist() == [[1] * 80]

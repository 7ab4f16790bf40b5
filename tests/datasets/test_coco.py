"""COCO in miniature: label rules."""

from pathlib import Path

import pytest

from tests.datasets.toys import grey, load, write_coco


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco(tmp_path: Path, year: int) -> None:
    data = load(f"coco{year}", write_coco(tmp_path, year))
    assert data.classes == ("ant", "bee", "cat", "zebra")
    assert grey(data.train) == pytest.approx([30, 50, 70], abs=1)  # in the order of ids
    assert data.train.targets.tolist() == [[0, 1, 1, 0], [0] * 4, [1, 0, 0, 1]]
    assert data.test.targets.tolist() == [[1] * 4]

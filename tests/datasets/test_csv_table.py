"""Tables of images with several labels, and what each refusal says."""

from pathlib import Path

import pytest

from tests.datasets.toys import grey, load, write_csv


def test_csv(tmp_path: Path) -> None:
    data = load("csv", write_csv(tmp_path))
    assert data.classes == ("cat", "dog", "eel")
    assert data.train.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.test.targets.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert grey(data.train) == pytest.approx([0, 20, 40], abs=1)
    assert grey(data.test) == pytest.approx([60, 80], abs=1)


def write_domains(root: Path, train: str, test: str) -> Path:
    write_csv(root)
    (root / "train.csv").write_text(f"path,label,domain\n{train}")
    (root / "test.csv").write_text(f"path,label,domain\n{test}")
    return root


def test_a_column_of_domains_makes_one_label_an_image(tmp_path: Path) -> None:
    train = "images/a.jpg,dog,photo\nimages/b.jpg, cat , photo \nimages/c.jpg,dog,art\n"
    test = "images/d.jpg,cat,art\nimages/e.jpg,dog,war\n"
    data = load("csv", write_domains(tmp_path, train, test))
    assert (data.classes, data.domains) == (("cat", "dog"), ("art", "photo"))
    assert data.train.targets.tolist() == [1, 0, 1]
    assert data.train.domains.tolist() == ["photo", "photo", "art"]
    assert data.test.domains.tolist() == ["art", "war"]
    assert not data.multi_label

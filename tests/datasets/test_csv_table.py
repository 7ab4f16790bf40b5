"""Tables of images with several labels, and what each refusal says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.datasets.toys import grey, load, refusal, write_csv


def test_csv(tmp_path: Path) -> None:
    data = load("csv", write_csv(tmp_path))
    assert data.classes == ("cat", "dog", "eel")
    assert data.train.targets.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]
    assert data.test.targets.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert grey(data.train) == pytest.approx([0, 20, 40], abs=1)
    assert grey(data.test) == pytest.approx([60, 80], abs=1)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("path;label\n", "with the line path,label or path,label,domain, not with 'path;label'"),
        ("", "must begin with the line path,label or path,label,domain, not with ''"),
        ("path,label\nimages/a.jpg\n", "line 2 of {root}/train.csv is no path,label;label: 'im"),
        ("path,label\nimages/a.jpg,cat,dog\n", "line 2 of {root}/train.csv is no path,label;lab"),
        ("path,label\n,cat\n", "line 2 of {root}/train.csv is no path,label;label: ',cat'"),
        ("path,label\nimages/a.jpg,\n", "{root}/train.csv has no image with a label"),
        (
            "path,label\nimages/a.jpg,cat\nimages/x.jpg,cat\nno/y.jpg,dog\n",
            "{root}/train.csv lists 2 images that are missing, the first is {root}/images/x.jpg",
        ),
        (
            "path,label\nimages/a.jpg,cat\nimages/../images/a.jpg,dog\n",
            "{root}/train.csv lists image {root}/images/a.jpg twice: give each once",
        ),
        (
            'path,label\nimages/a.jpg,cat\n"images/b.jpg,dog\nimages/c.jpg,eel\n',
            "line 3 of {root}/train.csv cannot be read as CSV: unexpected end of data; an entry",
        ),
        (
            'path,label\nimages/a.jpg,"cat\nimages/b.jpg,dog"\n',
            "line 2 of {root}/train.csv cannot be read as CSV: unexpected end of data; an entry",
        ),
        (
            'path,label\n"images/a.jpg"x,cat\n',
            "line 2 of {root}/train.csv cannot be read as CSV: ',' expected after '\"'; an entry",
        ),
        (
            "path,label\n images/a.jpg,cat\n",
            "{root}/train.csv lists 1 images that are missing, the first is {root}/ images/a.jpg",
        ),
    ],
)
def test_csv_refusals(tmp_path: Path, train: str, sentence: str) -> None:
    root = write_csv(tmp_path)
    (root / "train.csv").write_text(train)
    said = refusal(lambda: load("csv", root))
    assert sentence.format(root=root) in said
    assert f"looked in {root}, which should hold train.csv and test.csv" in said


def test_an_image_in_both_tables_is_found_through_links(tmp_path: Path) -> None:
    root = write_csv(tmp_path, test="images/d.jpg,cat;dog;eel\nlinks/c.jpg,cat\n")
    (root / "links").mkdir()
    os.symlink(root / "images" / "c.jpg", root / "links" / "c.jpg")
    said = refusal(lambda: load("csv", root))
    assert said.startswith("1 test images of data set 'csv' are training images too, the first is")


def test_a_class_in_one_table_only_is_refused(tmp_path: Path) -> None:
    root = write_csv(tmp_path, test="images/d.jpg,cat;dog;eel;fox\n")
    assert "class 'fox' (label 3) of data set 'csv' has no train" in refusal(
        lambda: load("csv", root)
    )
    assert load("csv", root, classes=3).classes == ("cat", "dog", "eel")
    assert "needs a root, the folder that holds train.csv" in refusal(lambda: load("csv"))


def test_classes_are_sorted_whatever_the_order_of_rows(tmp_path: Path) -> None:
    root = write_csv(
        tmp_path,
        ["a.jpg,jay;ant", "b.jpg,ibis", "c.jpg,bee"],
        "images/d.jpg,ibis;bee;jay;ant\n",
    )
    data = load("csv", root)
    assert data.classes == ("ant", "bee", "ibis", "jay")
    assert data.train.targets.tolist() == [[1, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]]
    assert data.test.targets.tolist() == [[1, 1, 1, 1]]


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
    assert data.train.domains is not None
    assert data.train.domains.tolist() == ["photo", "photo", "art"]
    assert data.test.domains is not None
    assert data.test.domains.tolist() == ["art", "war"]
    assert not data.multi_label


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        ("images/a.jpg,cat;dog,art\n", "line 2 of {root}/train.csv is no path,label,domain: 'im"),
        ("images/a.jpg,cat,\n", "line 2 of {root}/train.csv is no path,label,domain: 'im"),
        ("images/a.jpg,cat\n", "line 2 of {root}/train.csv is no path,label,domain: 'im"),
        ("images/a.jpg,,art\n", "line 2 of {root}/train.csv is no path,label,domain: 'im"),
        ("images/a.jpg,cat\0,art\n", "line 2 of {root}/train.csv "),
    ],
)
def test_refusals_of_domains(tmp_path: Path, train: str, sentence: str) -> None:
    root = write_domains(tmp_path, train, "images/d.jpg,cat,art\n")
    assert sentence.format(root=root) in refusal(lambda: load("csv", root))


def test_domains_in_one_table_alone_are_refused(tmp_path: Path) -> None:
    root = write_csv(tmp_path)
    (root / "test.csv").write_text("path,label,domain\nimages/d.jpg,cat,art\n")
    assert "must both have a column domain, or neither" in refusal(lambda: load("csv", root))

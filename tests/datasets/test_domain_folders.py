"""Folders of domains and DomainNet: layout, shares, classes by name, and refusals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl_prompts.datasets.domain_folders import split_cells
from cl_prompts.datasets.fingerprint import fingerprint_change
from cl_prompts.datasets.folders import holds_domains
from cl_prompts.scenarios import domain_incremental_split
from tests.datasets.toys import grey, load, refusal, write_image

PLACES = [("art", "cat"), ("art", "dog"), ("photo", "ant"), ("photo", "dog")]


def write_domains(root: Path, n: int = 5, first: int = 0) -> Path:
    """So many images of each class of each domain, of which each lacks one."""
    for k, (domain, name) in enumerate(PLACES):
        for i in range(n):
            write_image(root / domain / name / f"{i}.png", first + 20 * k + i)
    return root


def test_classes_are_known_by_name_and_the_share_is_taken_in_each_domain(tmp_path: Path) -> None:
    data = load("folder", write_domains(tmp_path), domains=True, test_percent=40)
    assert (data.classes, data.domains) == (("ant", "cat", "dog"), ("art", "photo"))
    assert str(data).startswith("folder: 3 classes, 2 domains, 12 training and 8 test images")
    for part, n in ((data.train, 3), (data.test, 2)):
        values = grey(part)
        for (domain, name), k in zip(PLACES, range(4), strict=True):
            rows = [row for row, value in enumerate(values) if value // 20 == k]
            assert len(rows) == n
            assert {data.classes[part.targets[row]] for row in rows} == {name}
            assert part.domains is not None
            assert set(part.domains[rows]) == {domain}
    split = domain_incremental_split(data.train.targets, domains=data.train.domains)
    assert split.missing_classes() == {"art": (0,), "photo": (1,)}


def test_parts_have_domains_of_their_own(tmp_path: Path) -> None:
    write_domains(tmp_path / "train", 2)
    write_domains(tmp_path / "val", 1, first=100)
    write_image(tmp_path / "val" / "war" / "cat" / "x.png", 200)
    data = load("folder", tmp_path, domains=True)
    assert grey(data.test) == [100, 120, 140, 160, 200]
    assert data.test.domains is not None
    assert data.test.domains.tolist() == ["art", "art", "photo", "photo", "war"]
    assert data.domains == ("art", "photo")


def test_chosen_classes_and_left_out_files_keep_their_domains(tmp_path: Path) -> None:
    root = write_domains(tmp_path)
    (root / "photo" / "dog" / "0.png").write_text("no image")
    settings = {"domains": True, "test_percent": 20, "on_bad_image": "skip"}
    data = load("folder", root, classes=["dog", "cat"], **settings)
    for part in (data.train, data.test):
        assert part.domains is not None
        assert len(part.domains) == len(part)
        assert [Path(file).parts[-3] for file in part.files] == part.domains.tolist()


def test_domains_are_part_of_what_data_are(tmp_path: Path) -> None:
    data = load("folder", write_domains(tmp_path), domains=True, test_percent=40)
    before = data.fingerprint()
    assert data.train.domains is not None
    data.train.domains = data.train.domains[::-1].copy()
    said = fingerprint_change(before, data.fingerprint())
    assert said is not None
    assert "labels of training images changed" in said


@pytest.mark.parametrize(
    ("change", "settings", "says"),
    [
        ("art/cat", {"test_percent": 20}, "class 'art/cat' has 1 image: two are needed"),
        ("", {}, "it has no folder train"),
        ("", {"split_seed": 1}, "split_seed chooses test images, of which this folder has a part"),
        ("", {"test_percent": 40, "leave_out": ["ca"]}, "class to be left out 'ca': did you mean"),
        ("", {"test_percent": 40, "leave_out": "at"}, "class to be left out 'at': did you mean"),
    ],
)
def test_refusals(tmp_path: Path, change: str, settings: dict[str, Any], says: str) -> None:
    root = write_domains(tmp_path)
    for file in sorted((root / change).glob("*.png"))[1:] if change else ():
        file.unlink()
    assert says in refusal(lambda: load("folder", root, domains=True, **settings))


def test_names_of_domains_are_text(tmp_path: Path) -> None:
    write_image(Path(os.fsdecode(os.fsencode(write_domains(tmp_path)) + b"/\xff/cat/1.png")))
    write_image(Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff/cat/2.png")))
    said = refusal(lambda: load("folder", tmp_path, domains=True, test_percent=20))
    assert said.startswith("domain '\\udcff' of this data set has a name that is not UTF-8")


def test_a_domain_without_classes_is_refused(tmp_path: Path) -> None:
    (write_domains(tmp_path) / "war").mkdir()
    said = refusal(lambda: load("folder", tmp_path, domains=True, test_percent=20))
    assert "war holds no class folders" in said


@pytest.mark.parametrize(
    ("places", "expected"),
    [
        (["art/cat", "art/dog", "photo/cat", "photo/dog"], True),
        (["art/cat", "art/dog", "art/owl", "photo/cat", "photo/dog"], True),
        (["art/cat", "art/dog", "photo/cat", "photo/owl"], False),  # one class in both of three
        (["cat/2020", "dog/2021"], False),
        (["cat", "dog"], False),
        (["art/cat", "art/dog"], False),
        (["art/cat", "photo/cat"], False),
        (["art/cat", "art/dog", "photo/cat", "photo/dog", "photo"], False),  # an image beside them
    ],
)
def test_folders_that_look_like_domains(tmp_path: Path, places: list[str], expected: bool) -> None:
    for place in places:
        write_image(tmp_path / place / "0.png")
    assert holds_domains(tmp_path) is expected


@pytest.mark.parametrize("parts", [("Train", "Test"), ("TRAIN", "val"), ("training", "testing")])
def test_parts_under_other_names_are_no_domains(tmp_path: Path, parts: tuple[str, str]) -> None:
    for part in parts:
        write_domains(tmp_path / part, 2)
    said = refusal(lambda: holds_domains(tmp_path))
    assert said == (
        f"{tmp_path} holds {parts[0]!r} and {parts[1]!r}, which are parts of a data set and no"
        " classes or domains: call them 'train' and 'test' (or 'val'), in lower case, and leave out"
        " test_percent"
    )
    assert said in refusal(lambda: load("folder", tmp_path, test_percent=20))
    assert said in refusal(lambda: load("folder", tmp_path, domains=True, test_percent=20))


def write_domainnet(root: Path) -> Path:
    cells = [("real", "zebra"), ("real", "ant"), ("clip", "zebra")]
    for number, (domain, name) in enumerate(cells):
        label = {"zebra": 0, "ant": 1}[name]
        for ending in ("train", "test"):
            path = f"{domain}/{name}/{ending}.png"
            write_image(root / path, 40 * number + 20 * (ending == "test"))
            with (root / f"{domain}_{ending}.txt").open("a") as listing:
                listing.write(f"{path} {label}\n")
    return root


def test_domainnet_has_the_labels_of_its_lists(tmp_path: Path) -> None:
    data = load("domainnet", write_domainnet(tmp_path))
    assert (data.classes, data.domains) == (("zebra", "ant"), ("clip", "real"))
    assert (data.train.targets.tolist(), grey(data.train)) == ([0, 0, 1], [80, 0, 40])
    assert (data.test.targets.tolist(), grey(data.test)) == ([0, 0, 1], [100, 20, 60])
    assert data.train.domains is not None
    assert np.array_equal(data.train.domains, ["clip", "real", "real"])


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("real/ant/test.png 0", "gives label 0 to ant, and it is that of zebra"),
        ("real/ant/gone.png 1", "lists 1 images that are missing"),
        ("real/ant/train.png one", "row 3 of"),
        ("real/ant/a.png 1 real/ant/b.png 1", "is not as it should be: 'real/ant/a.png 1 real"),
        (". 0", "real_train.txt lists ., which is no real/<class>/<file>"),
        ("clip/zebra/train.png 0", "real_train.txt lists clip/zebra/train.png, which is no real/<"),
    ],
)
def test_refusals_of_domainnet(tmp_path: Path, row: str, says: str) -> None:
    root = write_domainnet(tmp_path)
    with (root / "real_train.txt").open("a") as listing:
        listing.write(f"{row}\n")
    assert says in refusal(lambda: load("domainnet", root))


@pytest.mark.parametrize("ending", ["train", "test"])
def test_a_domain_needs_both_lists(tmp_path: Path, ending: str) -> None:
    root = write_domainnet(tmp_path)
    (root / f"clip_{ending}.txt").unlink()
    assert f"clip_{ending}.txt is missing" in refusal(lambda: load("domainnet", root))


def test_a_folder_without_lists_is_no_domainnet(tmp_path: Path) -> None:
    said = refusal(lambda: load("domainnet", tmp_path))
    assert "holds no list <domain>_train.txt" in said
    assert "take the archive and both lists of each domain from http://ai.bu.edu/M3SDA" in said


def test_a_slash_in_a_name_parts_no_class_from_its_domain() -> None:
    """ "b/c" in "a" is not "c" in "a/b"."""
    classes = ["b/c", "c", "b/c", "c", "-1", "=x", "-1", "=x"]
    domains = ["a", "a/b", "a", "a/b", "..", "..", "..", ".."]
    train, test = split_cells(classes, domains, 50, seed=0)
    cells = [(domains[row], classes[row]) for row in test.tolist()]
    assert sorted(cells) == sorted(set(zip(domains, classes, strict=True)))
    assert len(train) == len(test)

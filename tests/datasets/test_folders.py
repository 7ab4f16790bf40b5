"""Folders of images, of domains, and DomainNet: order, links, shares, classes by name."""

import os
from pathlib import Path

import numpy as np
import pytest

from cl_prompts.datasets.folders import class_folders, holds_domains, scan_images
from cl_prompts.scenarios import domain_incremental_split
from tests.datasets.toys import grey, load, write_image

PLACES = [("art", "cat"), ("art", "dog"), ("photo", "ant"), ("photo", "dog")]


def test_images_come_in_sorted_order_from_folders_of_any_depth(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.png", "a.png", "b/c/1.JPG", "b-c/1.png", "z/.hidden.png", "z/1.txt"]
    for name in names:
        write_image(tmp_path / "one" / name.replace(".txt", ".png"))
    (tmp_path / "one" / "z" / "1.png").rename(tmp_path / "one" / "z" / "1.txt")
    write_image(tmp_path / "two" / "a.png")
    images = scan_images([tmp_path / "one", tmp_path / "two"])
    found = [os.path.relpath(str(path), tmp_path) for path in images.files]
    # Folders are sorted by their whole path, in which "-" comes before "/".
    assert found == [
        *("one/a.png", "one/b/10.png", "one/b/2.png", "one/b-c/1.png", "one/b/c/1.JPG"),
        "two/a.png",
    ]
    assert images.targets.tolist() == [0, 0, 0, 0, 0, 1]


def test_links_to_files_and_class_folders_are_followed(tmp_path: Path) -> None:
    write_image(tmp_path / "store" / "a.png")
    os.symlink(tmp_path / "store", tmp_path / "ant")
    (tmp_path / "bee").mkdir()
    os.symlink(tmp_path / "store" / "a.png", tmp_path / "bee" / "b.png")
    images = scan_images([tmp_path / "ant", tmp_path / "bee"])
    assert images.files == (str(tmp_path / "ant" / "a.png"), str(tmp_path / "bee" / "b.png"))
    assert class_folders(tmp_path) == ("ant", "bee", "store")


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
            assert set(part.domains[rows]) == {domain}
    split = domain_incremental_split(data.train.targets, domains=data.train.domains)
    assert (~split.visible).nonzero()[1].tolist() == [0, 1]


def test_parts_have_domains_of_their_own(tmp_path: Path) -> None:
    write_domains(tmp_path / "train", 2)
    write_domains(tmp_path / "val", 1, first=100)
    write_image(tmp_path / "val" / "war" / "cat" / "x.png", 200)
    data = load("folder", tmp_path, domains=True)
    assert grey(data.test) == [100, 120, 140, 160, 200]
    assert data.test.domains.tolist() == ["art", "art", "photo", "photo", "war"]
    assert data.domains == ("art", "photo")


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
    assert np.array_equal(data.train.domains, ["clip", "real", "real"])

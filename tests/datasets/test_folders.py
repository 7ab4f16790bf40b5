"""Folders of images, of domains, and DomainNet: order, links, shares, classes by name."""

import os
import sys
from pathlib import Path
from runpy import run_path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets.folder import IMG_EXTENSIONS

from cl_prompts.datasets import decoding, folders
from cl_prompts.datasets.files import LayoutError
from cl_prompts.datasets.folders import class_folders, holds_domains, scan_images
from cl_prompts.datasets.survey import survey
from cl_prompts.experiments.trained.evaluating import labelled_images
from cl_prompts.experiments.trained.predicting import image_files
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


def test_files_that_are_not_read_are_counted_with_a_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SUFFIXES", IMG_EXTENSIONS)  # as without pillow-heif
    names = ("a.HEIC", "b.heic", "c.gif", "notes.txt", ".hidden.gif", ".git/d.gif", "Makefile")
    for name in names:
        file = tmp_path / "cat" / name
        file.parent.mkdir(exist_ok=True, parents=True)
        file.touch()
    counted = (
        "2 .heic not read: install pillow-heif or convert; 1 .gif not read: convert to PNG or JPEG;"
        " 1 .txt not read; 1 without suffix not read"
    )
    with pytest.raises(LayoutError) as refused:
        scan_images([tmp_path / "cat"])
    assert sorted(str(refused.value).split("; ")[1:]) == sorted(counted.split("; "))
    write_image(tmp_path / "cat" / "e.png")
    write_image(tmp_path / "cat" / "f.png", 9)
    readers = (
        lambda: image_files([tmp_path / "cat"]),
        lambda: labelled_images(tmp_path),
        lambda: survey(tmp_path, least=1, whole=True),
    )
    for read in readers:
        with pytest.warns(UserWarning, match="not read") as warned:
            read()
        (one,) = warned
        assert sorted(str(one.message).split("; ")) == sorted(counted.split("; "))


def test_heic_is_read_where_pillow_heif_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("pillow_heif")
    photo = tmp_path / "cat" / "a.heic"
    photo.parent.mkdir()
    Image.new("RGB", (32, 24), (200, 30, 30)).save(photo)
    (read,) = scan_images([photo.parent]).images
    assert read.shape == (3, 24, 32)
    assert abs(read.float().mean((1, 2)) - torch.tensor([200.0, 30, 30])).max() < 6


def test_the_optional_library_adds_its_suffixes_and_format(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    stand_in = SimpleNamespace(register_heif_opener=lambda: calls.append(1))
    monkeypatch.setitem(sys.modules, "pillow_heif", stand_in)  # type: ignore[arg-type]
    found = run_path(decoding.__file__)
    assert calls == [1]
    assert (".heic" in found["SUFFIXES"], "HEIF" in found["FORMATS"]) == (True, True)
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # type: ignore[arg-type]
    found = run_path(decoding.__file__)
    assert (".heic" in found["SUFFIXES"], "HEIF" in found["FORMATS"]) == (False, False)

"""Official layouts in miniature, and what each refusal says."""

import hashlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR10, CIFAR100

from cl_prompts.datasets.registry import load_dataset
from cl_prompts.datasets.source import split_rows
from tests.datasets.toys import (
    grey,
    load,
    write_coco,
    write_folder,
    write_grocery,
    write_image,
)


@pytest.mark.parametrize("test", ["test", "val"])
def test_a_folder_of_images(tmp_path: Path, test: str) -> None:
    root = write_folder(tmp_path, test=test)
    (root / "train" / "ant" / "notes.txt").write_text("no image")
    (root / "train" / "ant" / "._0.png").write_bytes(b"no image either")
    (root / "train" / ".hidden").mkdir()
    data = load("folder", root)
    assert data.classes == ("ant", "bee", "cat")
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert grey(data.train) == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert grey(data.test) == [100, 101, 102]


def write_cifar(monkeypatch: pytest.MonkeyPatch, kind: type[CIFAR10], root: Path) -> Path:
    """The official pickles in miniature, with torchvision's checksums set to theirs."""
    hundred = kind is CIFAR100
    n_classes, key = (100, "fine_labels") if hundred else (10, "labels")
    folder = root / kind.base_folder
    folder.mkdir(parents=True)

    def write(name: str, content: dict[str, object]) -> list[str]:
        data = pickle.dumps(content)
        (folder / name).write_bytes(data)
        return [name, hashlib.md5(data).hexdigest()]

    rng = np.random.default_rng(0)
    lists = []
    for files in (kind.train_list, kind.test_list):
        labels = list(range(n_classes))
        content = {"data": rng.integers(0, 256, (n_classes, 3072), dtype=np.uint8), key: labels}
        lists.append([write(name, content) for name, _ in files])
    meta = write(
        kind.meta["filename"], {kind.meta["key"]: [f"class {i}" for i in range(n_classes)]}
    )
    monkeypatch.setattr(kind, "train_list", lists[0])
    monkeypatch.setattr(kind, "test_list", lists[1])
    monkeypatch.setattr(kind, "meta", kind.meta | {"md5": meta[1]})
    return folder


@pytest.mark.parametrize(
    ("name", "kind", "n"), [("cifar10", CIFAR10, 50), ("cifar100", CIFAR100, 100)]
)
def test_cifar_in_torchvisions_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: type[CIFAR10], n: int
) -> None:
    folder = write_cifar(monkeypatch, kind, tmp_path)
    monkeypatch.setenv("CL_PROMPTS_DATA", str(tmp_path))
    reference = kind(tmp_path)
    for root in (None, folder, tmp_path):
        data = load_dataset(name, root=root, image_size=32, augment=False)
        assert len(data.train) == n
        assert data.classes[7] == "class 7"
        assert data.train.targets.tolist() == reference.targets
        assert np.array_equal(
            (data.train[3][0] * 255).round().permute(1, 2, 0).numpy(), reference.data[3]
        )
    assert load_dataset(name, image_size=48).train[0][0].shape == (3, 48, 48)


def test_a_download_lands_in_the_folder_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, root: str, **_: object) -> None:
        write_cifar(monkeypatch, CIFAR100, Path(root))

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    for root in (tmp_path / "a" / "cifar-100-python", tmp_path / "b"):
        assert len(load("cifar100", root, download=True).train) == 100
        assert len(load("cifar100", root).train) == 100


def write_tiny_imagenet(root: Path) -> Path:
    folder = root / "tiny-imagenet-200"
    wnids = ["n03", "n01", "n02"]  # not sorted, as in the official file
    for k, wnid in enumerate(wnids):
        for i in range(2):
            write_image(folder / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", 20 * k + i)
        (folder / "train" / wnid / f"{wnid}_boxes.txt").write_text("")
        write_image(folder / "val" / "images" / f"val_{2 - k}.JPEG", 100 + k)
    (folder / "wnids.txt").write_text("\n".join(wnids) + "\n")
    lines = [f"val_{2 - k}.JPEG\t{wnid}\t0\t32\t44\t62\n" for k, wnid in enumerate(wnids)]
    (folder / "val" / "val_annotations.txt").write_text("".join(lines))
    return folder


def test_tiny_imagenet(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path)
    for root in (folder, tmp_path):
        data = load("tiny_imagenet", root)
        assert data.classes == ("n03", "n01", "n02")
        # Sorted folders, labels by line of wnids.txt.
        assert data.train.targets.tolist() == [1, 1, 2, 2, 0, 0]
        assert grey(data.train) == [20, 21, 40, 41, 0, 1]
        assert data.test.targets.tolist() == [1, 2, 0]
        assert grey(data.test) == [101, 102, 100]


def test_imagenet_r_split(tmp_path: Path) -> None:
    folder = tmp_path / "imagenet-r"
    for k in range(23):
        write_image(folder / ("n1" if k < 11 else "n2") / f"{k:02d}.jpg", 10 * k)
    (folder / "README.txt").write_text("ImageNet-R")
    data = load("imagenet_r", tmp_path)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    train = sorted(order[:18])
    test = sorted(order[18:])
    assert grey(data.train) == [10 * k for k in train]
    assert grey(data.test) == [10 * k for k in test]
    assert data.train.targets.tolist() == [int(k >= 11) for k in train]
    assert data.classes == ("n1", "n2")


def write_cub(root: Path) -> Path:
    folder = root / "CUB_200_2011"
    classes = ["001.Albatross", "002.Auklet"]
    names = [f"{classes[k % 2]}/bird_{k}.jpg" for k in range(6)]
    for k, name in enumerate(names):
        write_image(folder / "images" / name, 30 * k)
    rows = {
        "classes.txt": classes,
        "images.txt": names,
        "image_class_labels.txt": [str(k % 2 + 1) for k in range(6)],
        "train_test_split.txt": list("110010"),
    }
    for name, values in rows.items():
        (folder / name).write_text(
            "".join(f"{i} {value}\n" for i, value in enumerate(values, start=1))
        )
    return folder


def test_cub200_follows_its_official_split(tmp_path: Path) -> None:
    write_cub(tmp_path)
    data = load("cub200", tmp_path)
    assert grey(data.train) == [0, 30, 120]
    assert grey(data.test) == [60, 90, 150]
    assert data.train.targets.tolist() == [0, 1, 0]
    assert data.test.targets.tolist() == [0, 1, 1]
    assert data.classes == ("001.Albatross", "002.Auklet")


def test_grocery_validation_images_join_training(tmp_path: Path) -> None:
    data = load("grocery", write_grocery(tmp_path / "dataset"))
    assert data.classes == ("Royal-Gala", "Pink-Lady", "Lime")
    assert data.train.targets.tolist() == [0, 0, 1, 1, 2, 2, 0, 1, 2]
    assert grey(data.train) == [40, 80, 50, 90, 60, 100, 120, 130, 140]
    assert (data.test.targets.tolist(), grey(data.test)) == ([0, 1, 2], [160, 170, 180])
    coarse = load("grocery", tmp_path / "dataset", labels="coarse")
    assert coarse.classes == ("Apple", "Lime")
    assert coarse.test.targets.tolist() == [0, 0, 1]


@pytest.mark.parametrize("year", [2014, 2017])
def test_coco(tmp_path: Path, year: int) -> None:
    data = load(f"coco{year}", write_coco(tmp_path, year))
    assert data.classes == ("ant", "bee", "cat", "zebra")
    assert grey(data.train) == pytest.approx([30, 50, 70], abs=1)  # in the order of ids
    assert data.train.targets.tolist() == [[0, 1, 1, 0], [0] * 4, [1, 0, 0, 1]]
    assert data.test.targets.tolist() == [[1] * 4]


# --- images divided by a seeded share

LABELS = np.repeat(np.arange(3), [10, 50, 2])
NAMES = ("cat", "dog", "owl")


def test_the_share_is_taken_of_each_class_by_the_seed() -> None:
    in_test = split_rows(LABELS, NAMES, 20, 0)
    assert np.bincount(LABELS[in_test]).tolist() == [2, 10, 1]
    assert np.array_equal(split_rows(LABELS, NAMES, 20, 0), in_test)
    rounded = split_rows(LABELS, NAMES, 27, 0)
    assert np.bincount(LABELS[rounded]).tolist() == [3, 14, 1]
    assert not np.array_equal(split_rows(LABELS, NAMES, 20, 1), in_test)
    for percent in (1, 99):  # each class stays on both sides
        in_test = split_rows(LABELS, NAMES, percent, 0)
        assert set(LABELS[in_test]) == set(LABELS[~in_test]) == {0, 1, 2}


def test_a_class_gets_an_image_that_is_no_other_class_s_last_one() -> None:
    labels = ["", "b", "ac", "bc", "d", "bcd", "bd", "a", "b"]
    matrix = np.array([[name in own for name in "abcd"] for own in labels], dtype=np.uint8)
    for seed in range(100):
        in_test = split_rows(matrix, "abcd", 20, seed)
        assert matrix[~in_test].any(axis=0).all()
        assert matrix[in_test].any(axis=0).all()

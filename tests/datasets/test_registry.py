"""Data sets: official layouts in miniature, choice of classes, and what each refusal says."""

from __future__ import annotations

import hashlib
import pickle
import urllib.error
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.utils.data import DataLoader, TensorDataset
from torchvision.datasets import CIFAR10, CIFAR100

from cl_prompts.datasets.registry import DATASETS, DataSet, ImageSet, as_dataset, load_dataset
from cl_prompts.errors import InputError, RunError

torch.set_num_threads(1)


def write_image(
    path: Path, value: int = 0, size: tuple[int, int] = (8, 8), mode: str = "RGB"
) -> None:
    """A flat image whose grey value tells which one it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value, value, value)).convert(mode).save(path)


def grey(part: ImageSet) -> list[int]:
    """The grey value of each image of a data set."""
    return [round(part[i][0].mean().item() * 255) for i in range(len(part))]


def write_folder(
    root: Path, classes: Sequence[str] = ("ant", "bee", "cat"), test: str = "test"
) -> Path:
    for label, name in enumerate(classes):
        for i in range(3):
            write_image(root / "train" / name / f"{i}.png", 10 * label + i)
        write_image(root / test / name / "a.png", 100 + label)
    return root


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        call()
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


def load(name: str, root: Path | None = None, **options: object) -> DataSet:
    return load_dataset(name, root=root, image_size=8, augment=False, **options)  # type: ignore[arg-type]


# --- digits, and what every data set promises
# ---------------------------------------------------------------------


def test_digits_need_no_folder() -> None:
    data = load_dataset("digits", image_size=32, seed=1)
    assert (len(data.train), len(data.test)) == (1442, 355)
    assert str(data) == "digits: 10 classes, 1442 training and 355 test images"
    assert data.classes == tuple("0123456789")
    assert data.train.targets.dtype == np.int64
    assert data.train.targets.shape == (1442,)
    image, label = data.train[5]
    assert image.shape == (3, 32, 32)
    assert image.dtype == torch.float32
    assert type(label) is int
    assert [data.test[i][1] for i in range(20)] == data.test.targets[:20].tolist()
    fixed = load_dataset("digits", image_size=32, augment=False).train
    pixels = torch.stack([image for image, _ in fixed])
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=1e-3)


def test_augmentation_draws_anew_repeats_under_a_seed_and_resumes() -> None:
    first, again = (load_dataset("digits", image_size=32, seed=7).train for _ in range(2))
    a, b = first[0][0], first[0][0]
    assert not torch.equal(a, b)
    assert torch.equal(again[0][0], a)
    again.load_state_dict(first.state_dict())
    assert torch.equal(again[3][0], first[3][0])
    fixed = load_dataset("digits", image_size=32, augment=False).train
    assert torch.equal(fixed[0][0], fixed[0][0])
    assert fixed.state_dict() == {}


def test_items_leave_the_global_generator_alone() -> None:
    data = load_dataset("digits", image_size=32)
    state = torch.get_rng_state()
    assert data.train[0][0].shape == data.test[0][0].shape
    assert torch.equal(torch.get_rng_state(), state)


def test_indexing_ends_where_the_data_set_does() -> None:
    data = load("digits", classes=2)
    assert len(list(data.test)) == len(data.test)
    with pytest.raises(IndexError):
        data.train[len(data.train)]


# --- choice and order of classes
# ----------------------------------------------------------------------------------


def test_a_number_keeps_the_first_classes_of_the_order() -> None:
    whole, data = (
        load("digits"),
        load("digits", classes=3, class_order=[4, 2, 9, 0, 1, 3, 5, 6, 7, 8]),
    )
    assert data.classes == ("4", "2", "9")
    kept = np.isin(whole.train.targets, [4, 2, 9])
    assert np.array_equal(np.array([4, 2, 9])[data.train.targets], whole.train.targets[kept])
    assert torch.equal(data.train[3][0], whole.train[int(np.flatnonzero(kept)[3])][0])


def test_a_list_picks_by_label_and_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    data = load("folder", root, classes=["cat", 0])
    assert data.classes == ("cat", "ant")
    assert data.train.targets.tolist() == [1, 1, 1, 0, 0, 0]
    assert grey(data.train) == [0, 1, 2, 20, 21, 22]
    assert grey(data.test) == [100, 102]
    assert load("folder", root, classes=["cat", 0], class_order=[1, 0]).classes == ("ant", "cat")


def test_a_seed_gives_one_class_order() -> None:
    expected = torch.randperm(10, generator=torch.Generator().manual_seed(3)).tolist()
    assert load("digits", class_order=3).classes == tuple(map(str, expected))


@settings(max_examples=15, deadline=None)
@given(order=st.permutations(range(10)), count=st.integers(1, 10))
def test_relabelling_keeps_each_class_together(order: list[int], count: int) -> None:
    whole, data = load("digits"), load("digits", classes=count, class_order=order)
    assert data.classes == tuple(str(label) for label in order[:count])
    for part, all_of_it in ((data.train, whole.train), (data.test, whole.test)):
        kept = np.isin(all_of_it.targets, order[:count])
        assert np.array_equal(np.array(order)[part.targets], all_of_it.targets[kept])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"classes": 11},
            "classes of data set 'digits' must be a number from 1 to 10, or a list, not 11",
        ),
        ({"classes": 0}, "must be a number from 1 to 10, or a list, not 0"),
        ({"classes": True}, "must be a number from 1 to 10, or a list, not True"),
        ({"classes": 2.5}, "must be a number or a list of labels and names, not 2.5"),
        ({"classes": "3"}, "must be a number or a list of labels and names, not '3'"),
        ({"classes": []}, "must not be an empty list"),
        ({"classes": [1, 10]}, "must be labels 0 to 9 or names, not 10"),
        ({"classes": [1, "1"]}, "must differ: '1' (label 1) is there twice"),
        ({"classes": ["one"]}, "unknown class of data set 'digits' 'one': there is 0, 1, 2"),
        ({"class_order": -1}, "class_order must be a whole number, at least 0, not -1"),
        ({"class_order": [0, 1]}, "hold each of 0 to 9 once, but 2 is missing"),
        ({"class_order": [*range(10), 3]}, "hold each of 0 to 9 once, but it has 11 entries"),
        (
            {"class_order": "up"},
            "class_order of data set 'digits' must be a seed (a whole number >= 0) or hold each",
        ),
        ({"class_order": 1.5}, "hold each of 0 to 9 once, not 1.5"),
        (
            {"root": "/nowhere"},
            "data set 'digits' is part of the package and has no folder: leave out root (/nowhere)",
        ),
        ({"seed": -1}, "seed must be a whole number, at least 0, not -1"),
        ({"image_size": 0}, "image_size must be a whole number, at least 1, not 0"),
        ({"image_size": "32"}, "image_size must be a whole number, at least 1, not '32'"),
    ],
)
def test_bad_arguments_are_refused(options: dict[str, object], sentence: str) -> None:
    assert sentence in refusal(lambda: load_dataset("digits", **({"image_size": 32} | options)))  # type: ignore[arg-type]


def test_random_parts_take_the_place_of_a_data_set_s_own_augmentation() -> None:
    own, parts = (
        load_dataset("digits", image_size=28, crop=crop) for crop in (None, "random_area")
    )
    grown = torch.nn.functional.interpolate(
        own.test[0][0][None], 32, mode="bicubic", antialias=True
    )[0, :, 2:-2, 2:-2]
    assert (parts.test[0][0] - grown).abs().mean() < 0.05  # the centre of the image at 32 pixels
    assert (parts.test[0][0] - own.test[0][0]).abs().mean() > 0.05
    views = torch.stack([parts.train[0][0] for _ in range(20)])
    assert views.flatten(1).unique(dim=0).shape == (20, 3 * 28 * 28)
    assert views.mean((1, 2, 3)).std() > 0.05  # some show a small part


def test_an_unknown_name_offers_the_nearest() -> None:
    sentence = refusal(lambda: load("cifar-100"))
    assert sentence == "unknown data set 'cifar-100': did you mean 'cifar100'?"


# --- image folders
# ----------------------------------------------------------------------------------------------


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


def test_formats_and_colour_modes(tmp_path: Path) -> None:
    for i, (suffix, mode) in enumerate(
        [("webp", "RGB"), ("JPEG", "L"), ("bmp", "RGB"), ("png", "RGBA"), ("gif", "P")]
    ):
        write_image(tmp_path / "train" / "a" / f"{i}.{suffix}", 40, mode=mode)
    write_image(tmp_path / "test" / "a" / "0.png", 40, size=(5, 9), mode="LA")
    data = load("folder", tmp_path)
    assert len(data.train) == 4  # a GIF is none of torchvision's image formats
    assert all(abs(value - 40) <= 2 for value in grey(data.train) + grey(data.test))
    assert data.test[0][0].shape == (3, 8, 8)


def test_folder_refusals(tmp_path: Path) -> None:
    looked = (
        f"looked in {tmp_path}, which should hold train/<class>/* and test/<class>/* (or"
        " val/<class>/*)"
    )
    assert refusal(lambda: load("folder")).startswith(
        "data set 'folder' needs a root, the folder that holds train/"
    )
    sentence = refusal(lambda: load("folder", tmp_path / "no"))
    assert sentence == f"data set 'folder' was not found: {looked}".replace(
        str(tmp_path), str(tmp_path / "no")
    )
    assert (
        refusal(lambda: load("folder", tmp_path))
        == f"data set 'folder' is incomplete (it has no folder train): {looked}"
    )
    (tmp_path / "train").mkdir()
    assert "(it has no folder test or val)" in refusal(lambda: load("folder", tmp_path))
    (tmp_path / "test").mkdir()
    assert f"({tmp_path}/train holds no class folders)" in refusal(lambda: load("folder", tmp_path))
    for part in ("train", "test"):
        (tmp_path / part / "ant").mkdir()
    assert f"(no images found in {tmp_path}/train/ant (looked for .jpg" in refusal(
        lambda: load("folder", tmp_path)
    )
    write_folder(tmp_path)
    (tmp_path / "test" / "bee" / "a.png").unlink()
    assert f"no images found in {tmp_path}/test/bee" in refusal(lambda: load("folder", tmp_path))
    (tmp_path / "test" / "bee").rmdir()
    assert (
        refusal(lambda: load("folder", tmp_path))
        == f"class 'bee' has no test images: {tmp_path}/train/bee is there, {tmp_path}/test/bee"
        " is not"
    )
    write_folder(tmp_path)
    (tmp_path / "test" / "dog").mkdir()
    assert refusal(lambda: load("folder", tmp_path)).startswith(
        "class 'dog' has no training images:"
    )


def test_an_unreadable_image_is_named_when_it_is_met(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    broken = root / "train" / "bee" / "1.png"
    broken.write_bytes(broken.read_bytes()[:45])
    gone = root / "train" / "cat" / "2.png"
    data = load("folder", root)
    gone.unlink()
    assert data.train[3][1] == 1
    for row, path in ((4, broken), (8, gone)):
        with pytest.raises(RunError) as caught:
            data.train[row]
        assert str(caught.value).startswith(f"image {path} cannot be read: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match=r"bee/1\.png cannot be read"):
        list(DataLoader(data.train, batch_size=3, num_workers=1))


def test_images_can_be_kept_in_memory(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    write_image(root / "train" / "ant" / "0.png", 9, size=(200, 20))
    data = load("folder", root, cache=True)
    before = grey(data.train)
    for path in (root / "train").rglob("*.png"):
        write_image(path, 250)
    assert grey(data.train) == before
    assert set(grey(load("folder", root).train)) == {250}


# --- CIFAR
# ----------------------------------------------------------------------------------------------


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


def test_cifar_as_class_folders(tmp_path: Path) -> None:
    write_folder(tmp_path)
    data = load("cifar100", tmp_path)
    assert data.classes == ("ant", "bee", "cat")
    assert data.mean == DATASETS["cifar100"].mean
    assert load("cifar100", tmp_path, download=True).classes == data.classes


def test_missing_cifar_says_how_to_download_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CL_PROMPTS_DATA", raising=False)
    monkeypatch.chdir(tmp_path)
    assert (
        refusal(lambda: load("cifar100"))
        == f"data set 'cifar100' was not found: looked in {tmp_path}/data/cifar-100-python, which"
        " should hold the files train, test and meta of the Python version, or class folders"
        " train/<class>/* and test/<class>/*; the same command with dataset.download=true"
        " fetches it from https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    )
    assert not (tmp_path / "data").exists()


def test_a_damaged_cifar_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_cifar(monkeypatch, CIFAR100, tmp_path)
    (folder / "train").write_bytes(b"half")
    sentence = refusal(lambda: load("cifar100", folder))
    assert (
        f"'cifar100' is incomplete (its files in {folder} are missing or damaged): looked in"
        f" {folder}" in sentence
    )
    assert "dataset.download=true" in sentence


def test_a_failing_download_says_what_to_do_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", offline)
    sentence = refusal(
        lambda: load("cifar10", tmp_path / "my data" / "cifar-10-batches-py", download=True)
    )
    url = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
    assert (
        f"could not be downloaded from {url} (<urlopen error no network>): looked in {tmp_path}/my"
        " data/" in sentence
    )
    at = f"'{tmp_path}/my data'"
    assert sentence.endswith(f"wget -P {at} {url} && tar -xf {at}/cifar-10-python.tar.gz -C {at}")


def test_a_download_lands_in_the_folder_that_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(url: str, root: str, **_: object) -> None:
        write_cifar(monkeypatch, CIFAR100, Path(root))

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    for root in (tmp_path / "a" / "cifar-100-python", tmp_path / "b"):
        assert len(load("cifar100", root, download=True).train) == 100
        assert len(load("cifar100", root).train) == 100


# --- archives to be fetched by hand
# -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_imagenet", "imagenet_r", "cub200"])
@pytest.mark.parametrize("download", [False, True])
def test_a_missing_archive_says_how_to_fetch_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, download: bool
) -> None:
    monkeypatch.setenv("CL_PROMPTS_DATA", str(tmp_path))
    entry = DATASETS[name]
    sentence = refusal(lambda: load(name, download=download))
    start = (
        f"data set {name!r} was not found: looked in {tmp_path}/{entry.folder}, which should hold"
        f" {entry.layout}"
    )
    assert sentence.startswith(f"{start}; to fetch it: wget -P {tmp_path} {entry.origin} && ")
    assert sentence.endswith(("-C " + str(tmp_path), "-d " + str(tmp_path)))


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
        assert data.train.targets.tolist() == [
            1,
            1,
            2,
            2,
            0,
            0,
        ]  # sorted folders, labels by line of wnids.txt
        assert grey(data.train) == [20, 21, 40, 41, 0, 1]
        assert data.test.targets.tolist() == [1, 2, 0]
        assert grey(data.test) == [101, 102, 100]


def test_tiny_imagenet_refusals(tmp_path: Path) -> None:
    folder = write_tiny_imagenet(tmp_path)
    (folder / "val" / "images" / "val_1.JPEG").unlink()
    sentence = refusal(lambda: load("tiny_imagenet", folder))
    assert "val_annotations.txt lists 1 images that are missing, the first is " in sentence
    assert "val_1.JPEG); " not in sentence
    assert "unzip -q" in sentence
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG n99\n")
    assert "names class 'n99', which is not in wnids.txt" in refusal(
        lambda: load("tiny_imagenet", folder)
    )
    (folder / "wnids.txt").write_text("")
    assert f"({folder}/wnids.txt is empty)" in refusal(lambda: load("tiny_imagenet", folder))
    (folder / "wnids.txt").unlink()
    assert f"({folder}/wnids.txt is missing)" in refusal(lambda: load("tiny_imagenet", folder))


def test_imagenet_r_split(tmp_path: Path) -> None:
    folder = tmp_path / "imagenet-r"
    for k in range(23):
        write_image(folder / ("n1" if k < 11 else "n2") / f"{k:02d}.jpg", 10 * k)
    (folder / "README.txt").write_text("ImageNet-R")
    data = load("imagenet_r", tmp_path)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(0)).tolist()
    train, test = sorted(order[:18]), sorted(order[18:])
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
    split = write_cub(tmp_path) / "train_test_split.txt"
    data = load("cub200", tmp_path)
    assert grey(data.train) == [0, 30, 120]
    assert grey(data.test) == [60, 90, 150]
    assert data.train.targets.tolist() == [0, 1, 0]
    assert data.test.targets.tolist() == [0, 1, 1]
    assert data.classes == ("001.Albatross", "002.Auklet")
    split.write_text("1 1\n2 1\n3 0\n4 1\n5 0\n6 1\n")
    sentence = refusal(lambda: load("cub200", tmp_path))
    assert sentence == "class '002.Auklet' (label 1) of data set 'cub200' has no test images"


@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("image_class_labels.txt", "1 1\n2 x\n", "row 2 of {path} is not as it should be: '2 x'"),
        ("train_test_split.txt", "1 1\n2 0\n", "list different images"),
        (
            "image_class_labels.txt",
            "".join(f"{i} 3\n" for i in range(1, 7)),
            "must hold labels 1 to 2",
        ),
        (
            "images.txt",
            "".join(f"{i} no/{i}.jpg\n" for i in range(1, 7)),
            "lists 6 images that are missing",
        ),
        ("classes.txt", "1\n", "row 1 of {path} is not as it should be: '1'"),
    ],
)
def test_cub200_refusals(tmp_path: Path, name: str, text: str, sentence: str) -> None:
    path = write_cub(tmp_path) / name
    path.write_text(text)
    found = refusal(lambda: load("cub200", tmp_path))
    assert sentence.format(path=path) in found
    assert "tar -xf" in found


# --- data sets of one's own
# ---------------------------------------------------------------------------------------


class Own(TensorDataset):
    """A user's data set; its targets may be anything, its images are only there when asked for."""

    def __init__(self, targets: object, n: int | None = None) -> None:
        n = len(targets) if n is None else n  # type: ignore[arg-type]
        super().__init__(
            torch.arange(n).float()[:, None, None, None].expand(n, 3, 4, 4) / 10, torch.zeros(n)
        )
        self.targets = targets


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_any_map_style_data_set(kind: Callable[[list[int]], object]) -> None:
    data = as_dataset(Own(kind([0, 2, 1])), Own(kind([2, 1, 0, 0])), name="mine")
    assert isinstance(data, DataSet)
    assert data.classes == ("0", "1", "2")
    assert data.train.targets.dtype == np.int64
    image, label = data.train[1]
    assert (image[0, 0, 0].item(), label) == (pytest.approx(0.1), 2)
    assert str(data) == "mine: 3 classes, 3 training and 4 test images"


def test_own_data_sets_are_not_read_while_they_are_checked() -> None:
    class Untouchable(Own):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            raise AssertionError("read")

    data = as_dataset(Untouchable([0, 1]), Untouchable([0, 1]), classes=["a", "b"])
    assert data.classes == ("a", "b")


def test_own_data_sets_are_checked() -> None:
    good = Own([0, 1, 2])

    def said(train: object, test: object = good, classes: Sequence[str] | None = None) -> str:
        return refusal(lambda: as_dataset(train, test, classes, name="mine"))

    assert (
        said(TensorDataset(torch.zeros(2)))
        == "the training labels of data set 'mine' are missing: the data set needs .targets, one"
        " integer per image"
    )
    per_image = "must be one integer per image of at least one image: there are"
    assert f"{per_image} 2 images, and .targets is float64 of shape (2,)" in said(Own([0.0, 1.0]))
    assert f"{per_image} 2 images, and .targets is bool of shape (2,)" in said(Own([True, False]))
    assert f"{per_image} 1 images, and .targets is int64 of shape (1, 2, 1)" in said(
        Own([[[0], [1]]])
    )
    assert f"{per_image} 4 images, and .targets is int64 of shape (2,)" in said(Own([0, 1], n=4))
    assert f"{per_image} 0 images" in said(Own([]))
    assert "must be one integer per image, but .targets is no array of numbers" in said(
        Own([[0], [0, 1]])
    )
    assert (
        said(Own([1, 2, 3]))
        == "labels of data set 'mine' must be 0 to 2 (3 classes), but the training labels are 1,"
        " 2, 3"
    )
    assert "but the training labels are -1, 0, 1" in said(Own([0, -1, 1]))
    assert "but the test labels are 0, 1, 2" in said(Own([0, 1]))
    assert "are 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, ... (12 in all)" in said(Own(list(range(1, 13))))
    assert said(good, Own([0, 2])) == "class '1' (label 1) of data set 'mine' has no test images"
    assert (
        said(Own([0, 2]), good, ["a", "b", "c"])
        == "class 'b' (label 1) of data set 'mine' has no training images"
    )
    assert "must be 0 to 1 (2 classes), but the training labels are 0, 1, 2" in said(
        good, good, ["a", "b"]
    )


def test_every_entry_describes_itself() -> None:
    single = ["digits", "cifar10", "cifar100", "tiny_imagenet", "imagenet_r", "cub200", "folder"]
    assert list(DATASETS) == [*single, "digit_scenes", "voc2007", "coco2014", "coco2017", "csv"]
    for entry in DATASETS.values():
        assert "\n" not in entry.description
        assert bool(entry.origin) == bool(entry.unpack) == bool(entry.folder)

"""Fingerprints: what changes them, what does not, and how a change is put into words."""

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets import DataSet, ImageSet, PrivateRandom, as_dataset, dataset, fingerprint
from cl_prompts.datasets.combined import joined
from cl_prompts.datasets.fingerprint import file_hash, fingerprint_change
from cl_prompts.errors import InputError
from tests.datasets.test_readers import write_tiny_imagenet
from tests.datasets.toys import Own, load, refusal, write_folder, write_image

NOISE = PrivateRandom(lambda image: image + torch.rand(3, 8, 8), seed=1)


class Drawn(Own):
    """A user's data set of two images, each made by a function when it is asked for."""

    def __init__(self, draw: Callable[[], Any]) -> None:
        super().__init__([0, 1])
        self.draw = draw

    def __getitem__(self, index: int) -> Any:
        return self.draw(), self.targets[index]


def pictures(seed: int = 0, labels: tuple[int, ...] = (0, 1, 1)) -> DataSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (3, 3, 8, 8), generator=generator, dtype=torch.uint8)
    part = ImageSet(images, np.array(labels), None)
    return as_dataset(part, part)


def test_the_same_data_have_the_same_fingerprint_anywhere(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "here")
    before = load("folder", root).fingerprint()
    assert json.loads(json.dumps(before)) == before
    assert before["training"]["images"] == 9
    shutil.move(root, tmp_path / "there")
    now = load("folder", tmp_path / "there", image_size=24, augment=True, seed=3).fingerprint()
    assert now == before
    assert fingerprint_change(before, now) is None


def rename(root: Path) -> None:
    (root / "train" / "bee" / "1.png").rename(root / "train" / "bee" / "1b.png")


def repaint(root: Path) -> None:
    """Other pixels in as many bytes."""
    write_image(root / "train" / "ant" / "9.bmp", 77)


def swap(root: Path) -> None:
    """Two images of one class change places: the same names, the same bytes in all."""
    one, two = (root / "train" / "ant" / name for name in ("1.png", "9.bmp"))
    one.rename(root / "x.png")
    two.rename(one)
    (root / "x.png").rename(two)


def rename_class(root: Path) -> None:
    for part in ("train", "test"):
        (root / part / "bee").rename(root / part / "bees")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (rename, "names, order or sizes of training image files changed"),
        (repaint, "contents of training images changed"),
        (swap, "names, order or sizes of training image files changed"),
        (rename_class, "its classes changed"),
    ],
)
def test_a_change_is_put_into_words(
    tmp_path: Path, edit: Callable[[Path], None], words: str
) -> None:
    root = write_folder(tmp_path)
    write_image(root / "train" / "ant" / "9.bmp", 9)
    before = load("folder", root).fingerprint()
    edit(root)
    assert fingerprint_change(before, load("folder", root).fingerprint()) == words


def test_large_sets_count_by_name_size_and_a_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path)
    file = root / "train" / "ant" / "1.png"
    same_size = bytes(file.stat().st_size)
    data = load("folder", root)
    exact = data.fingerprint()
    total = sum(Path(path).stat().st_size for path in data.train.files)
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SMALL", total)
    assert data.fingerprint() == exact
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SMALL", total - 1)
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SAMPLED", 2)
    cheap = data.train.fingerprint()
    assert cheap != exact["training"] == {**cheap, "contents": exact["training"]["contents"]}
    first, second, *_ = map(Path, data.train.files)
    content = second.read_bytes()
    second.write_bytes(bytes(len(content)))
    assert data.train.fingerprint() == cheap  # the first and the last are read
    second.write_bytes(content)
    first.write_bytes(bytes(first.stat().st_size))
    assert data.train.fingerprint() != cheap
    file.write_bytes(same_size + b"more")
    now: dict[str, Any] = {**data.fingerprint(), "test": exact["test"]}
    change = fingerprint_change({**exact, "training": cheap}, now)
    assert change == "names, order or sizes of training image files changed"


def test_copies_are_found_among_the_files_that_are_hashed_and_each_is_hashed_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_folder(tmp_path)
    data = load("folder", root)
    hashed: list[str] = []
    monkeypatch.setattr(
        dataset, "file_hash", lambda file: (hashed.append(str(file)), file_hash(file))[1]
    )
    data.fingerprint()
    assert hashed == [*data.files]
    shutil.copy(root / "train/ant/1.png", root / "test/cat/a.png")
    said = refusal(data.fingerprint)
    assert said.startswith("1 test images of data set 'folder' are also training images, the first")
    monkeypatch.setattr(fingerprint, "SMALL", 0)
    monkeypatch.setattr(fingerprint, "SAMPLED", 2)
    data.fingerprint()  # the first and the last file of each part
    shutil.copy(root / "train/ant/0.png", root / "test/cat/a.png")
    assert f"the first is {root}/test/cat/a.png (in training: {root}/train" in refusal(
        data.fingerprint
    )


def test_copies_in_data_sets_that_others_divided_are_no_error(tmp_path: Path) -> None:
    root = write_tiny_imagenet(tmp_path)
    shutil.copy(root / "train/n01/images/n01_0.JPEG", root / "val/images/val_0.JPEG")
    published = load("tiny_imagenet", root)
    published.fingerprint()
    own = load("folder", write_folder(tmp_path / "own"))
    joined(published, own).fingerprint()
    shutil.copy(tmp_path / "own/train/ant/1.png", tmp_path / "own/test/cat/a.png")
    with pytest.raises(InputError, match="1 test images of data set 'folder' are also training"):
        joined(published, own).fingerprint()


def test_pixels_in_memory_and_labels_count() -> None:
    before = pictures().fingerprint()
    assert before == pictures().fingerprint()
    for other, word in ((pictures(1), "contents"), (pictures(labels=(0, 0, 1)), "labels")):
        change = fingerprint_change(before, other.fingerprint())
        assert change == f"{word} of training images changed"
    assert load("digits", classes=3).fingerprint() != load("digits", classes=4).fingerprint()


def test_user_images_are_fingerprinted_by_labels_and_a_sample() -> None:
    before = as_dataset(Own([0, 1]), Own([0, 1])).fingerprint()
    assert before["training"]["contents"] is not None
    assert as_dataset(Own([0, 1]), Own([0, 1])).fingerprint() == before
    assert as_dataset(Own([1, 0]), Own([0, 1])).fingerprint() != before
    brighter = as_dataset(Own([0, 1]), Drawn(lambda: torch.ones(3, 4, 4))).fingerprint()
    assert fingerprint_change(before, brighter) == "contents of test images changed"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: torch.rand(3, 8, 8),
        lambda: torch.full((3, 8, 8), random.random()),
        lambda: torch.full((3, 8, 8), np.random.rand()),
        lambda: NOISE(torch.zeros(3, 8, 8)),
    ],
)
def test_random_user_images_are_fingerprinted_under_one_seed(draw: Callable[[], Any]) -> None:
    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())]

    before = states()
    prints = [as_dataset(Drawn(draw), Own([0, 1])).fingerprint() for _ in range(2)]
    assert states() == before
    assert prints[0]["training"]["contents"] is not None
    assert prints[0] == prints[1]

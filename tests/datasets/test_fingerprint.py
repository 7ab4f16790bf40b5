"""Fingerprints: what changes them, what does not, and how a change is put into words."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.datasets.dataset import DataSet, ImageSet, as_dataset
from cl_prompts.datasets.fingerprint import (
    fingerprint_change,
    labels_fingerprint,
    tensor_fingerprint,
)
from tests.datasets.toys import Own, load, refusal, write_folder, write_image


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
    assert before["training"]["bytes"] == sum(f.stat().st_size for f in root.glob("train/*/*"))
    shutil.move(root, tmp_path / "there")
    now = load("folder", tmp_path / "there", image_size=24, augment=True, seed=3).fingerprint()
    assert now == before
    assert fingerprint_change(before, now) is None


def rename(root: Path) -> None:
    (root / "train" / "bee" / "1.png").rename(root / "train" / "bee" / "1b.png")


def add(root: Path) -> None:
    write_image(root / "test" / "bee" / "z.png")


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


def move(root: Path) -> None:
    (root / "train" / "cat" / "2.png").rename(root / "train" / "bee" / "3.png")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (rename, "names or order of training image files changed"),
        (add, "it has 4 test images, and had 3"),
        (repaint, "contents of training images changed"),
        (swap, "sizes of training image files changed"),
        (rename_class, "its classes changed"),
        (move, "labels of training images changed"),
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


def test_large_sets_count_by_name_and_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_folder(tmp_path)
    file = root / "train" / "ant" / "1.png"
    same_size = bytes(file.stat().st_size)
    data = load("folder", root)
    exact = data.fingerprint()
    total = exact["training"]["bytes"]
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SMALL", total)
    assert data.fingerprint() == exact
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SMALL", total - 1)
    opened: list[str] = []
    monkeypatch.setattr("builtins.open", lambda path, *_: opened.append(path))
    cheap = data.train.fingerprint()
    assert opened == []
    monkeypatch.undo()
    assert cheap == {**exact["training"], "contents": None}
    monkeypatch.setattr("cl_prompts.datasets.fingerprint.SMALL", total - 1)
    file.write_bytes(same_size)
    assert data.train.fingerprint() == cheap
    file.write_bytes(same_size + b"more")
    now: dict[str, Any] = {**data.fingerprint(), "test": exact["test"]}
    words = f"{total + 4} bytes in all, and {total} before"
    change = fingerprint_change({**exact, "training": cheap}, now)
    assert change == f"sizes of training images changed: {words}"


def test_pixels_in_memory_and_labels_count() -> None:
    before = pictures().fingerprint()
    assert before == pictures().fingerprint()
    assert before["training"]["bytes"] == 3 * 3 * 8 * 8
    for other, word in ((pictures(1), "contents"), (pictures(labels=(0, 0, 1)), "labels")):
        change = fingerprint_change(before, other.fingerprint())
        assert change == f"{word} of training images changed"
    assert load("digits", classes=3).fingerprint() != load("digits", classes=4).fingerprint()


def test_every_image_in_memory_counts() -> None:
    images = torch.zeros(1500, 3, 1, 1, dtype=torch.uint8)
    seen = {tensor_fingerprint(images, np.arange(1500))["contents"]}
    for row in (0, 999, 1000, 1499):
        changed = images.clone()
        changed[row, 1] = 1
        seen.add(tensor_fingerprint(changed, np.arange(1500))["contents"])
    assert len(seen) == 5


def test_images_of_ones_own_count_by_number_and_labels() -> None:
    before = as_dataset(Own([0, 1]), Own([0, 1])).fingerprint()
    assert before["training"]["contents"] is None
    assert as_dataset(Own([1, 0]), Own([0, 1])).fingerprint() != before


def test_labels_do_not_depend_on_their_type() -> None:
    labels = np.array([[0, 1], [1, 1]])
    assert labels_fingerprint(labels.astype(np.uint8)) == labels_fingerprint(labels)
    assert labels_fingerprint(labels.ravel()) != labels_fingerprint(labels)
    ignored = np.array([[True, False], [False, False]])
    assert labels_fingerprint(labels, ignored) != labels_fingerprint(labels)
    assert labels_fingerprint(labels, ignored) != labels_fingerprint(labels, ~ignored)


def test_a_file_that_has_gone_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    data = load("folder", root)
    (root / "train" / "ant" / "1.png").unlink()
    said = refusal(data.fingerprint)
    assert said == f"image {root}/train/ant/1.png cannot be read: No such file or directory"

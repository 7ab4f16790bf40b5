"""Unreadable images: found before training, refused by name, or left out and listed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cl_prompts.datasets.bad_images import check_images, handle_bad_images
from cl_prompts.datasets.registry import as_dataset
from cl_prompts.errors import RunError
from tests.datasets.toys import Own, grey, load, refusal, write_csv, write_folder


def damage(path: Path) -> str:
    path.write_bytes(path.read_bytes()[:45])
    return str(path)


def test_the_first_is_named_before_training(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    bee = damage(root / "train" / "bee" / "1.png")
    said = refusal(lambda: load("folder", root))
    assert said.startswith(f"image {bee} cannot be read: ")
    assert said.endswith(
        ": repair data set 'folder', or leave such images out with on_bad_image=skip"
    )
    damage(root / "test" / "ant" / "a.png")
    assert "; 1 more cannot be read either: repair" in refusal(lambda: load("folder", root))


def test_only_chosen_classes_are_looked_at(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    damage(root / "train" / "bee" / "1.png")
    assert load("folder", root, classes=["ant", "cat"]).classes == ("ant", "cat")


def test_skipping_leaves_them_out_and_lists_them(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    whole = load("folder", root)
    assert whole.skipped == ()
    bad = [damage(root / "train" / "bee" / "1.png"), damage(root / "train" / "cat" / "2.png")]
    data = load("folder", root, on_bad_image="skip")
    assert data.skipped == tuple(bad)
    assert data.train.targets.tolist() == [0, 0, 0, 1, 1, 2, 2]
    assert grey(data.train) == [0, 1, 2, 10, 12, 20, 21]
    assert grey(data.test) == [100, 101, 102]
    assert "; 2 unreadable images left out" in str(data)
    damage(root / "test" / "ant" / "a.png")
    said = refusal(lambda: load("folder", root, on_bad_image="skip"))
    assert said == "class 'ant' (label 0) of data set 'folder' has no test images"


def test_skipping_keeps_labels_and_ignored_pairs_in_step(tmp_path: Path) -> None:
    root = write_csv(tmp_path)
    damage(root / "images" / "b.jpg")
    data = load("csv", root, on_bad_image="skip")
    assert data.train.targets.tolist() == [[1, 1, 0], [0, 0, 1]]
    assert data.train.without([]) is data.train
    pairs = np.array([[True, False, False], [False, True, False]])
    data.train.ignored = pairs
    assert np.array_equal(data.train.without([data.train.files[0]]).ignored, pairs[1:])


def test_deferring_opens_nothing(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    damage(root / "train" / "bee" / "1.png")
    data = load("folder", root, on_bad_image="defer")
    with pytest.raises(RunError, match=r"bee/1\.png cannot be read"):
        data.train[4]
    assert load("folder", root, on_bad_image="defer", cache=True, cache_gb=1).skipped == ()


def test_every_file_is_opened_once_with_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = load("folder", write_folder(tmp_path))
    opened: list[str] = []
    monkeypatch.setattr(
        "cl_prompts.datasets.bad_images.decode", lambda path: opened.append(path) or torch.zeros(3)
    )
    monkeypatch.setattr("cl_prompts.datasets.bad_images._AT_ONCE", 5)
    told: list[tuple[int, int]] = []
    assert check_images(data, progress=lambda *counts: told.append(counts)) == []
    assert sorted(opened) == sorted([*data.train.files, *data.test.files])
    assert told == [(5, 12), (10, 12), (12, 12)]


def test_bad_files_come_in_order(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    bad = [damage(root / "train" / "bee" / "1.png"), damage(root / "test" / "ant" / "a.png")]
    found = check_images(load("folder", root, on_bad_image="defer"))
    assert [image.path for image in found] == bad
    assert found[0].reason.startswith(f"image {bad[0]} cannot be read: ")


def test_what_was_found_may_be_left_for_later(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    damage(root / "train" / "bee" / "1.png")
    data = load("folder", root, on_bad_image="defer")
    bad = check_images(data)
    assert handle_bad_images(data, bad, "defer") is data
    assert handle_bad_images(data, [], "fail") is data
    assert handle_bad_images(data, bad, "skip").skipped == (bad[0].path,)


def test_images_from_elsewhere_are_not_looked_at() -> None:
    data = as_dataset(Own([0, 1]), Own([0, 1]))
    assert check_images(data) == []
    assert data.train.files == ()
    assert data.without(["a.png"]).skipped == ()


def test_unknown_words_are_refused(tmp_path: Path) -> None:
    said = refusal(lambda: load("folder", tmp_path, on_bad_image="skp"))
    assert said == "unknown on_bad_image 'skp': did you mean 'skip'?"

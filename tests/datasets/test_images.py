"""Images in files: damaged ones, and the cache."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from cl_prompts.datasets.images import reduced
from cl_prompts.errors import RunError
from tests.datasets.toys import grey, load, write_folder, write_image


def test_an_unreadable_image_is_named_when_it_is_met(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    broken = root / "train" / "bee" / "1.png"
    broken.write_bytes(broken.read_bytes()[:45])
    gone = root / "train" / "cat" / "2.png"
    data = load("folder", root, on_bad_image="defer")
    gone.unlink()
    assert data.train[3][1] == 1
    for row, path in ((4, broken), (8, gone)):
        with pytest.raises(RunError) as caught:
            data.train[row]
        assert str(caught.value).startswith(f"image {path} cannot be read: ")
        assert "\n" not in str(caught.value)
    with pytest.raises(RunError, match=r"bee/1\.png cannot be read") as caught:
        list(DataLoader(data.train, batch_size=3, num_workers=1))
    traceback.clear_frames(caught.tb)  # lets go of the loader, whose process ends


@pytest.mark.slow
def test_images_can_be_kept_in_memory(tmp_path: Path) -> None:
    root = write_folder(tmp_path)
    write_image(root / "train" / "ant" / "0.png", 9, size=(200, 20))
    data = load("folder", root, cache=True)
    before = grey(data.train)
    for path in (root / "train").rglob("*.png"):
        write_image(path, 250)
    assert grey(data.train) == before
    assert set(grey(load("folder", root).train)) == {250}


@example(height=128, width=100, side=50)
@given(height=st.integers(1, 700), width=st.integers(1, 700), side=st.integers(1, 300))
def test_only_larger_images_are_reduced(height: int, width: int, side: int) -> None:
    image = torch.zeros(1, height, width, dtype=torch.uint8)
    kept = tuple(reduced(image, side).shape[1:])
    if max(height, width) <= 128 or min(height, width) <= side:
        assert kept == (height, width)
    else:
        assert min(kept) == side
        assert max(kept) / side == pytest.approx(
            max(height, width) / min(height, width), abs=1 / side
        )

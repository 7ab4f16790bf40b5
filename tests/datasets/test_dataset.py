"""Items, repeatable augmentation, and data sets of one's own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from cl_prompts.datasets.dataset import as_dataset
from cl_prompts.datasets.registry import DataSet, load_dataset
from tests.datasets.toys import Own, load


def test_plain_images_are_not_augmented() -> None:
    data = load_dataset("digits", image_size=32, seed=7)
    plain = data.train.plain()
    fixed = load_dataset("digits", image_size=32, augment=False).train
    assert torch.equal(plain[5][0], fixed[5][0])
    assert np.array_equal(plain.targets, data.train.targets)
    own = as_dataset(*[Own([0, 1])] * 2).train  # its transforms stay its own
    assert own.plain() is own


def test_items_are_images_with_multi_hot_labels() -> None:
    data = load("digit_scenes", image_size=32)
    assert data.multi_label
    assert not load("digits").multi_label
    assert str(data) == "digit_scenes: 10 classes (multi-label), 1500 training and 500 test images"
    assert data.classes == tuple("0123456789")
    assert data.train.targets.shape == (1500, 10)
    assert data.train.targets.dtype == np.uint8
    assert data.train.ignored is None
    image, label = data.train[3]
    assert image.shape == (3, 32, 32)
    assert isinstance(label, torch.Tensor)
    assert label.dtype == torch.float32
    assert label.tolist() == data.train.targets[3].tolist()
    images, labels = next(iter(DataLoader(data.test, batch_size=4, num_workers=1)))
    assert images.shape == (4, 3, 32, 32)
    assert np.array_equal(labels.numpy(), data.test.targets[:4])


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor])
def test_any_map_style_data_set(kind: Callable[[list[int]], object]) -> None:
    data = as_dataset(Own(kind([0, 2, 1])), Own(kind([2, 1, 0, 0])), name="mine")
    assert isinstance(data, DataSet)
    assert data.classes == ("0", "1", "2")
    assert data.train.targets.dtype == np.int64
    image, label = data.train[1]
    assert (image[0, 0, 0].item(), label) == (pytest.approx(0.1), 2)
    assert str(data) == "mine: 3 classes, 3 training and 4 test images"


@pytest.mark.parametrize("kind", [np.array, torch.tensor, lambda rows: np.array(rows, dtype=bool)])
def test_own_multi_label_data_sets(kind: Callable[[Any], Any]) -> None:
    data = as_dataset(
        Own(kind([[1, 1, 0], [0, 0, 1]])), Own(kind([[1, 1, 1]])), ["a", "b", "c"], name="mine"
    )
    assert data.multi_label
    assert data.train.targets.dtype == np.uint8
    image, label = data.train[1]
    assert isinstance(label, torch.Tensor)
    assert (image[0, 0, 0].item(), label.tolist()) == (pytest.approx(0.1), [0, 0, 1])
    assert as_dataset(data.train, data.test).classes == ("0", "1", "2")


def test_own_ignored_pairs_are_kept_and_checked() -> None:
    train = Own(np.array([[1, 1]]))
    test = Own(np.array([[1, 1], [0, 1]]))
    test.ignored = np.array([[False, False], [True, False]])
    data = as_dataset(train, test)
    assert data.train.ignored is None
    assert np.array_equal(data.test.ignored, test.ignored)

"""The embedded digits: sizes, split and pixel statistics."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cl_prompts.datasets.registry import load_dataset


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

"""The embedded scenes: contents, repeatability and worth."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score

from cl_prompts.backbones.weights import create_backbone
from cl_prompts.datasets.digit_scenes import digit_scenes
from tests.datasets.toys import load


def test_scenes_hold_one_to_four_digits_and_are_the_same_every_time() -> None:
    images, labels = digit_scenes()[:2]
    again, labels_again = digit_scenes()[:2]
    assert torch.equal(images, again)
    assert np.array_equal(labels, labels_again)
    per_scene = labels.sum(axis=1, dtype=np.int64)
    assert set(per_scene.tolist()) == {1, 2, 3, 4}
    assert min(np.bincount(per_scene)[1:]) > 300
    assert labels.mean(axis=0).min() > 0.2
    ink = (images[:, 0] > 60).float().mean(dim=(1, 2))
    by_number = [ink[torch.from_numpy(per_scene == n)].mean().item() for n in (1, 2, 3, 4)]
    for n, share in enumerate(
        by_number, start=1
    ):  # little is hidden: ink grows with the number of digits
        assert share == pytest.approx(n * by_number[0], rel=0.1)


def test_statistics_of_the_scenes_are_those_of_the_entry() -> None:
    data = load("digit_scenes", image_size=64)
    pixels = torch.stack([image for image, _ in data.train])
    assert pixels.mean().item() == pytest.approx(data.mean[0], abs=1e-3)
    assert pixels.std().item() == pytest.approx(data.std[0], abs=1e-3)


def test_the_embedded_vit_makes_sense_of_the_scenes() -> None:
    data, backbone = load("digit_scenes", image_size=32), create_backbone()
    parts = []
    with torch.no_grad():
        for part in (data.train, data.test):
            images = torch.stack([image for image, _ in part])
            parts.append(torch.cat([backbone(batch) for batch in images.split(250)]).numpy())
    mean, std = parts[0].mean(axis=0), parts[0].std(axis=0)
    x, x_test = ((features - mean) / std for features in parts)
    weights = np.linalg.solve(
        x.T @ x + 30 * np.eye(x.shape[1]), x.T @ (data.train.targets - data.train.targets.mean(0))
    )
    precision = average_precision_score(data.test.targets, x_test @ weights)
    assert precision > 0.6  # 0.25 by chance

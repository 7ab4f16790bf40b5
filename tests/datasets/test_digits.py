"""The embedded digits and scenes: sizes, split, pixel statistics, and worth."""

import hashlib

import numpy as np
import pytest
import torch

from cl_prompts.datasets.digits import digits_split
from cl_prompts.datasets.registry import DataSet
from tests.datasets.toys import load

#: of the labels of all scenes, whatever the rounding of their pixels
DRAWN = "8adab5b40a99996b"


@pytest.fixture(scope="module")
def scenes() -> DataSet:
    return load("digit_scenes", image_size=64)


def test_every_fifth_image_of_a_class_is_a_test_image() -> None:
    labels = np.array([1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 1, 0])
    train, test = digits_split(labels)
    assert test.tolist() == [6, 10]
    assert train.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9, 11]


@pytest.mark.slow
def test_statistics_are_those_of_the_entries(scenes: DataSet) -> None:
    for data in (load("digits", image_size=32), load("digit_domains", image_size=32), scenes):
        pixels = torch.stack([image for image, _ in data.train])
        assert pixels.mean().item() == pytest.approx(data.mean[0], abs=1e-3)
        assert pixels.std().item() == pytest.approx(data.std[0], abs=1e-3)


def test_every_digit_is_in_one_domain_and_changed_as_its_name_says() -> None:
    digits = load("digits", image_size=32)
    data = load("digit_domains", image_size=32)
    assert data.domains == ("blurred", "inverted", "rotated", "upright")
    for plain, part in ((digits.train, data.train), (digits.test, data.test)):
        assert np.array_equal(plain.targets, part.targets)
        cells = [(name, label) for name in data.domains for label in range(10)]
        counts = [np.sum((part.domains == d) & (part.targets == c)) for d, c in cells]
        assert max(counts) - min(counts) <= 2
        for domain in data.domains:
            for row in np.flatnonzero(part.domains == domain)[:5]:
                before = plain[row][0]
                after = part[row][0]
                if domain == "blurred":
                    assert not torch.equal(after, before)
                    assert after[:, 3:29, 3:29].amax() < before.amax()
                    mean = before[0, 10:17, 10:17].mean()
                    assert after[0, 13, 13].item() == pytest.approx(mean.item(), abs=0.003)
                    continue
                wanted = {
                    "upright": before,
                    "inverted": 1 - before,
                    "rotated": before.transpose(1, 2).flip(1),
                }[domain]
                assert torch.allclose(after, wanted, atol=1e-6)


def test_scenes_hold_one_to_four_digits_and_are_the_same_every_time(scenes: DataSet) -> None:
    images, labels, test_labels = scenes.train.images, scenes.train.targets, scenes.test.targets
    assert isinstance(images, torch.Tensor)
    drawn = hashlib.sha256(labels.tobytes() + test_labels.tobytes()).hexdigest()
    assert drawn.startswith(DRAWN)
    per_scene = labels.sum(axis=1, dtype=np.int64)
    assert set(per_scene.tolist()) == {1, 2, 3, 4}
    assert min(np.bincount(per_scene)[1:]) > 300
    assert labels.mean(axis=0).min() > 0.2
    # Little is hidden: ink grows with the number of digits.
    ink = (images[:, 0] > 60).float().mean(dim=(1, 2))
    by_number = [ink[torch.from_numpy(per_scene == n)].mean().item() for n in (1, 2, 3, 4)]
    for n, share in enumerate(by_number, start=1):
        assert share == pytest.approx(n * by_number[0], rel=0.1)

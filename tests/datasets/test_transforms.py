"""Augmentation: sizes, ranges, one draw per image, private random numbers, keys and seeds."""

import pickle
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize

from cl_prompts.datasets.collate import viewing
from cl_prompts.datasets.registry import DATASETS
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom, view_seed

torch.set_num_threads(1)


def picture(height: int = 32, width: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def levels(image: torch.Tensor) -> torch.Tensor:
    return (image * 255).round().to(torch.uint8)


def noise(image: torch.Tensor) -> torch.Tensor:
    return image.float() / 255 + torch.rand(3, 1, 1)


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("shape", [(32, 32), (40, 61), (61, 40)])
@pytest.mark.parametrize("size", [24, 48])
def test_every_recipe_gives_square_float_images(
    name: str, shape: tuple[int, int], size: int
) -> None:
    recipe = DATASETS[name].augmentation
    for transform in (recipe.test(size), PrivateRandom(recipe.train(size), seed=0)):
        for _ in range(5):
            image = transform(picture(*shape))
            assert image.shape == (3, size, size)
            assert image.dtype == torch.float32
            assert 0 <= image.min() <= image.max() <= 1


def test_photos_of_several_objects_are_cut_as_multi_lane_does() -> None:
    recipe = DATASETS["voc2007"].augmentation
    photo = picture(90, 120)
    expected = center_crop(resize(photo, [64], interpolation=InterpolationMode.BICUBIC), [56])
    assert torch.equal(levels(recipe.test(56)(photo)), expected)
    # The grey level of a ramp is its column.
    ramp = torch.arange(120, dtype=torch.uint8).expand(3, 90, 120).contiguous()
    cut = PrivateRandom(recipe.train(56), seed=0)
    views = torch.stack([levels(cut(ramp)).int() for _ in range(200)])
    spans = views[:, 0, 0, -1] - views[:, 0, 0, 0]
    widths = spans.abs().sort().values
    assert widths[0] < 30
    assert widths[-1] > 85
    assert 60 < sum(bool(span < 0) for span in spans) < 140  # half of them flipped
    assert replace(recipe, crop="whole") == Augmentation(padding=0)


def test_calls_draw_anew_repeat_under_the_same_seed_and_resume() -> None:
    first, again, other = (PrivateRandom(noise, seed=seed) for seed in (3, 3, 4))
    images = [first(picture()) for _ in range(6)]
    assert all(torch.equal(image, again(picture())) for image in images)
    assert not any(torch.equal(image, other(picture())) for image in images)
    assert len({image.sum().item() for image in images}) == 6
    again.calls = 2
    assert torch.equal(again(picture()), images[2])


def test_global_random_states_are_neither_read_nor_changed() -> None:
    transform = PrivateRandom(Augmentation(AutoAugmentPolicy.IMAGENET, affine=1).train(32), seed=0)
    again = PrivateRandom(Augmentation(AutoAugmentPolicy.IMAGENET, affine=1).train(32), seed=0)
    torch.manual_seed(1)
    states = torch.get_rng_state(), pickle.dumps(np.random.get_state()), random.getstate()
    images = [transform(picture()) for _ in range(5)]
    assert torch.equal(torch.get_rng_state(), states[0])
    assert pickle.dumps(np.random.get_state()) == states[1]
    assert random.getstate() == states[2]
    torch.manual_seed(2)
    assert all(torch.equal(image, again(picture())) for image in images)


@pytest.mark.parametrize(
    ("name", "means"),
    [
        ("digits", [120.2, 125.1, 107.6]),
        ("cifar100", [111.2, 98.4, 96.0]),
        ("imagenet_r", [117.8, 116.0, 121.6]),
    ],
)
def test_views_of_a_key_stay_what_they_are(name: str, means: list[float]) -> None:
    view = PrivateRandom(DATASETS[name].augmentation.train(24), seed=3)
    found = []
    for update in range(3):
        with viewing(7, 5, update):
            found.append(255 * view(picture(40, 40)).mean().item())
    # Kernels without AVX2 round a few pixels to the next level.
    assert found == pytest.approx(means, abs=0.1)


def test_seeds_tell_keys_apart() -> None:
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (2**32,), (2**64, 1), (11,), (1, 1), (-1,)]
    seeds = [view_seed(seed, key) for key in keys for seed in (0, 1, 10)]
    # Seed 1 with key (0,) is not seed 10 with key (), and so on.
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert view_seed(0, (np.int64(7),)) == view_seed(0, (7,))
    assert view_seed(3, (1, 2)) == 6733988780980349654  # of every platform and release

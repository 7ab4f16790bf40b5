"""Views by key: equal to torchvision's, drawn without state."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.datasets.batched_views import BatchedTransform
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.keyed import KeyedTransform, View
from cl_prompts.datasets.registry import DATASETS
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.datasets.views import deferring_views, viewing

KINDS = {
    **{name: entry.augmentation for name, entry in DATASETS.items()},
    "all": Augmentation(AutoAugmentPolicy.SVHN, affine=2, square_crop=True),
    "none": Augmentation(padding=0, flip=False),
}


def picture(height: int = 32, width: int = 32, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=generator, dtype=torch.uint8)


def image_set(n: int = 8, seed: int = 0) -> ImageSet:
    transform = KeyedTransform(Augmentation(AutoAugmentPolicy.CIFAR10, affine=1), 24, seed=seed)
    return ImageSet(torch.stack([picture(seed=k) for k in range(n)]), np.arange(n), transform)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(32, 32), (40, 61), (90, 33), (8, 200)])
def test_a_view_is_torchvisions_under_the_same_random_numbers(
    kind: str, shape: tuple[int, int]
) -> None:
    keyed = KeyedTransform(KINDS[kind], 24, seed=0)
    whole = KINDS[kind].train(24)
    image = picture(*shape)
    for seed in range(20):
        view = keyed.draw_from(torch.Generator().manual_seed(seed), *shape)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            expected = whole(image)
        assert torch.equal(keyed.apply(image, view), expected)


def test_several_images_take_one_view_together() -> None:
    images = torch.stack([picture(seed=k) for k in range(3)])
    keyed = KeyedTransform(KINDS["cifar100"], 24, seed=0)
    for key in range(20):
        view = keyed.draw((key,), 32, 32)
        each = torch.stack([keyed.apply(image, view) for image in images])
        assert torch.equal(keyed.apply(images, view), each)


def test_views_depend_on_seed_and_key_alone() -> None:
    keyed = KeyedTransform(KINDS["all"], 24, seed=3)
    state = torch.get_rng_state()
    views = [keyed.draw((row, 5, update), 40, 61) for row in range(10) for update in range(10)]
    assert torch.equal(torch.get_rng_state(), state)
    assert len(set(views)) == 100
    again = pickle.loads(pickle.dumps(keyed))
    assert again.draw((9, 5, 9), 40, 61) == views[-1]
    assert KeyedTransform(KINDS["all"], 24, seed=4).draw((9, 5, 9), 40, 61) != views[-1]


def test_views_are_the_same_under_another_default_type() -> None:
    keyed = KeyedTransform(KINDS["all"], 24, seed=3)
    image = torch.randint(0, 256, (3, 40, 61), dtype=torch.uint8)
    views = [keyed(image, (key,)) for key in range(10)]
    torch.set_default_dtype(torch.float64)
    try:
        others = [keyed(image, (key,)) for key in range(10)]
    finally:
        torch.set_default_dtype(torch.float32)
    for view, other in zip(views, others, strict=True):
        assert torch.equal(view, other)


def test_keys_of_different_lengths_and_great_numbers_differ() -> None:
    keyed = KeyedTransform(KINDS["all"], 24, seed=0)
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (2**32,), (2**64, 1), (11,), (1, 1)]
    assert len({keyed.draw(key, 40, 61) for key in keys}) == len(keys)
    assert keyed.draw((np.int64(7),), 40, 61) == keyed.draw((7,), 40, 61)  # type: ignore[arg-type]


def test_parameters_are_spread_as_they_should_be() -> None:
    keyed = KeyedTransform(Augmentation(padding=4), 32, seed=0)
    views = [keyed.draw((row, 0), 32, 32) for row in range(2000)]
    assert 900 < sum(view.flip for view in views) < 1100
    tops, lefts = np.array([view.shift for view in views]).T
    assert min(np.bincount(tops, minlength=9)) > 160
    assert min(np.bincount(lefts, minlength=9)) > 160
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.1
    assert View() == KeyedTransform(KINDS["none"], 32, seed=0).draw((0,), 32, 32)


def test_items_are_views_by_row_and_key() -> None:
    data = image_set()
    image, label = data.view(3, 100, 1)
    assert label == 3
    assert torch.equal(image, data.view(3, 100, 1)[0])
    assert torch.equal(image, data.view(-5, 100, 1)[0])
    assert not torch.equal(image, data.view(3, 100, 2)[0])
    with viewing(100, 1):
        assert torch.equal(data[3][0], image)
        assert torch.equal(data.view(3)[0], data.view(3)[0])
        assert torch.equal(data[3][0], image)
    assert data.state_dict() == {"calls": 0}


def test_without_a_key_every_call_is_another_view_and_resumes() -> None:
    data = image_set()
    views = [data[3][0] for _ in range(4)]
    assert not any(torch.equal(views[0], other) for other in views[1:])
    again = image_set()
    again.load_state_dict({"calls": 2})
    assert torch.equal(again[3][0], views[2])
    assert data.state_dict() == {"calls": 4}


def test_private_transforms_heed_the_key_and_others_do_not() -> None:
    crop = Augmentation().train(24)
    data = ImageSet([picture()] * 2, np.arange(2), PrivateRandom(crop, seed=0))
    image = data.view(0, 1)[0]
    assert torch.equal(image, data.view(0, 1)[0])
    assert not torch.equal(image, data.view(0, 2)[0])
    assert not torch.equal(image, data.view(1, 1)[0])
    global_ = ImageSet([picture()], np.array([0]), crop)
    assert not torch.equal(global_.view(0, 1)[0], global_.view(0, 1)[0])


@pytest.mark.parametrize("kind", [KeyedTransform, BatchedTransform])
def test_images_of_floats_stay_what_they_are(kind: type[KeyedTransform]) -> None:
    transform = kind(Augmentation(padding=0), 8, seed=0)
    image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0))
    with deferring_views():
        view = transform(image, (0, 0))
    assert torch.equal(view, image) or torch.equal(view, image.flip(-1))

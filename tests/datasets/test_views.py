"""Views by key: equal to torchvision's, drawn without state, the same for any number of workers."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.datasets.dataset import ImageSet, as_dataset
from cl_prompts.datasets.registry import DATASETS
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.datasets.views import KeyedItems, KeyedTransform, View, current_key, viewing

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
    keyed, whole = KeyedTransform(KINDS[kind], 24, seed=0), KINDS[kind].train(24)
    image = picture(*shape)
    for seed in range(60):
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
        assert current_key() == (100, 1)
        with viewing():
            assert torch.equal(data[3][0], data.view(3)[0])
        assert torch.equal(data[3][0], image)
    assert current_key() == ()
    assert data.state_dict() == {}


def test_other_transforms_heed_no_key() -> None:
    data = ImageSet([picture()], np.array([0]), PrivateRandom(Augmentation().train(24), seed=0))
    assert not torch.equal(data.view(0, 1)[0], data.view(0, 1)[0])


def test_the_key_is_restored_after_an_error() -> None:
    with pytest.raises(IndexError):
        KeyedItems(image_set())[99, (1, 2)]
    assert current_key() == ()


class Batches:
    """Batches in stream order, each twice, with keys of stream position and update."""

    def __iter__(self) -> Any:
        for start in (0, 3):
            for update in range(2):
                yield [(row, (start + row, update)) for row in range(3)]


@pytest.mark.parametrize("workers", [1, 2])
def test_any_number_of_workers_gives_the_same_views(workers: int) -> None:
    subset: Dataset[Any] = Subset(Subset(image_set(), [7, 5, 3, 1]), [3, 2, 0])

    def epoch(n: int) -> list[Any]:
        return list(DataLoader(KeyedItems(subset), batch_sampler=Batches(), num_workers=n))  # type: ignore[arg-type]

    alone, shared = epoch(0), epoch(workers)
    assert len(alone) == 4
    for (images, labels), (others, other_labels) in zip(alone, shared, strict=True):
        assert labels.tolist() == other_labels.tolist() == [1, 3, 7]
        assert torch.equal(images, others)
    assert not torch.equal(alone[0][0], alone[1][0])
    assert not torch.equal(alone[0][0], alone[2][0])


def test_keys_reach_through_avalanches_subsets() -> None:
    from cl_prompts.scenarios import si_blurry_benchmark

    part = image_set(12)
    data = as_dataset(part, part)
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=2, seed=1)
    experience = benchmark.train_stream[1]
    items = KeyedItems(experience.dataset.train())
    for k, row in enumerate(experience.indices.tolist()):
        assert torch.equal(items[k, (50, k)][0], part.view(row, 50, k)[0])

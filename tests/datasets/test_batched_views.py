"""Views made in batches: the keyed transform's, whatever is drawn."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.transforms import AutoAugmentPolicy

from cl_prompts.datasets import geometry
from cl_prompts.datasets.batched_views import BatchedTransform
from cl_prompts.datasets.keyed import KeyedTransform
from cl_prompts.datasets.registry import DATASETS
from cl_prompts.datasets.transforms import Augmentation
from cl_prompts.datasets.views import DeferredView, DeferredViews, collated, deferring_views
from tests.datasets.toys import ROUNDING

KINDS = {
    **{name: DATASETS[name].augmentation for name in ("digits", "cifar100", "imagenet_r", "csv")},
    "plain": Augmentation(),
    "all": Augmentation(AutoAugmentPolicy.SVHN, affine=2, square_crop=True),
    "area": Augmentation(affine=1, random_area=True),
    "none": Augmentation(padding=0, flip=False),
}
N = 24


def pictures(height: int = 40, width: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (N, 3, height, width), generator=generator, dtype=torch.uint8)


def read(transform: BatchedTransform, images: Tensor) -> DeferredViews:
    """A batch as loaders join it."""
    with deferring_views():
        items = [(transform(image, (k, 3)), k) for k, image in enumerate(images)]
    batch: Any = collated(items, default_collate)[0]
    assert isinstance(batch, DeferredViews)
    return batch


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("order", ["rows first", "channels last"])
def test_on_a_cpu_they_are_the_keyed_transforms_bit_by_bit(kind: str, order: str) -> None:
    images = pictures()
    if order == "channels last":  # as CIFAR's files hold them
        images = images.contiguous(memory_format=torch.channels_last)
    keyed = KeyedTransform(KINDS[kind], 24, seed=5)
    expected = torch.stack([keyed(image, (k, 3)) for k, image in enumerate(images)])
    batched = BatchedTransform(KINDS[kind], 24, seed=5)
    views = read(batched, images)
    assert views.packed.dtype == torch.uint8
    assert torch.equal(views.to("cpu"), expected)
    assert torch.equal(pickle.loads(pickle.dumps(views)).to("cpu"), expected)
    at_once = torch.stack([batched(image, (k, 3)) for k, image in enumerate(images)])
    assert torch.equal(at_once, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_elsewhere_they_are_nearly_the_same(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    views = read(BatchedTransform(KINDS[kind], 48, seed=5), pictures())
    here = views.to("cpu")
    monkeypatch.setattr("cl_prompts.datasets.batched_views.enlarged", geometry.resampled)
    apart = views.to("cpu").sub(here).abs().mul(255)
    assert apart.max() < 1.01  # grey levels
    assert apart.mean() < ROUNDING


def test_a_batch_may_have_one_image_of_any_size() -> None:
    images = pictures(9, 11)
    views = read(BatchedTransform(KINDS["area"], 24, seed=5), images)
    for k in (0, 1, 2, 3):
        assert torch.equal(views[k : k + 1].to("cpu")[0], views.to("cpu")[k])


def test_images_of_several_sizes_meet_only_after_a_square_is_cut() -> None:
    transform = BatchedTransform(KINDS["imagenet_r"], 24, seed=5)
    with deferring_views():
        items: list[tuple[DeferredView, int]] = [
            (transform(pictures(side, 30)[0], (side,)), side) for side in (30, 41)
        ]
    assert collated(items, default_collate)[0].to("cpu").shape == (2, 3, 24, 24)


def test_calls_without_a_key_are_counted_in_either_way() -> None:
    image = pictures()[0]
    keyed, batched = (kind(KINDS["all"], 24, seed=5) for kind in (KeyedTransform, BatchedTransform))
    with deferring_views():
        views = [batched(image) for _ in range(3)]
    made = views[0].decode(torch.stack([view.packed for view in views]))
    assert torch.equal(made, torch.stack([keyed(image) for _ in range(3)]))
    assert batched.state_dict() == keyed.state_dict() == {"calls": 3}

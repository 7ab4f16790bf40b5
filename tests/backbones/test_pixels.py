"""Batches: good ones pass, each kind of bad one gets its sentence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from cl_prompts.backbones.pixels import check_images, check_pixels, check_targets
from cl_prompts.errors import InputError

GOOD = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def refusal(check: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        check(*arguments, **options)
    sentence = str(caught.value)
    assert "\n" not in sentence
    return sentence


@pytest.mark.parametrize(
    "images",
    [
        GOOD,
        GOOD.half(),
        GOOD.bfloat16(),
        GOOD.double(),
        GOOD * 1.15 - 0.075,  # the overshoot of a bicubic resize
        torch.zeros_like(GOOD),
        GOOD[:0],
    ],
)
def test_images_in_the_unit_interval_pass(images: torch.Tensor) -> None:
    before = images.clone()
    check_pixels(images, 16)
    assert torch.equal(images, before)


@pytest.mark.parametrize(
    ("images", "sentence"),
    [
        (GOOD.numpy(), "images are a ndarray: give a tensor (batch, 3, 16, 16)"),
        ((GOOD * 255).to(torch.uint8), "images are uint8: give floats in [0, 1]"),
        (GOOD > 0.5, "images are bool: give floats in [0, 1]"),
        (GOOD.long(), "images are int64: give floats in [0, 1]"),
        (GOOD[0], "images have shape (3, 16, 16): give (batch, 3, 16, 16)"),
        (GOOD[:, :1], "images have shape (4, 1, 16, 16) instead of (batch, 3, 16, 16): repeat the"),
        (
            GOOD.permute(0, 2, 3, 1),
            "instead of (batch, 3, 16, 16): put channels first, as images.pe",
        ),
        (
            GOOD[:, [0, 1, 2, 0]],
            "images have shape (4, 4, 16, 16) instead of (batch, 3, 16, 16): give",
        ),
        (GOOD[..., :14], "images are 16 x 14 pixels: the backbone takes 16 x 16, so resize them"),
        (GOOD[..., :14, :14], "image_size=14"),
        (GOOD * 255, "give images in [0, 1], for instance divided by 255"),
        ((GOOD - MEAN) / STD, "leave out the normalisation, which the backbone does"),
        (GOOD * 2 - 1, "leave out the normalisation, which the backbone does"),
        (GOOD.where(GOOD > 0.01, torch.nan), "images hold NaN or infinite pixels"),
        (GOOD.where(GOOD > 0.01, torch.inf), "images hold NaN or infinite pixels"),
    ],
)
def test_other_images_are_refused(images: Any, sentence: str) -> None:
    assert sentence in refusal(check_pixels, images, 16)


@pytest.mark.parametrize("value", [torch.tensor(200.0).half(), torch.tensor(3e38)])
def test_images_whose_sum_overflows_are_looked_at(value: torch.Tensor) -> None:
    large = value.expand(3, 32, 32)
    assert "give images in [0, 1]" in refusal(check_images, [large], 32)
    assert "32 x 32 pixels" in refusal(check_images, [large], 16)


def test_images_that_the_caller_normalises_pass_where_the_backbone_does_not() -> None:
    normalised = (GOOD - MEAN) / STD
    check_pixels(normalised, 16, normalised=True)
    check_pixels(GOOD, 16, normalised=True)
    assert "divided by 255" in refusal(check_pixels, GOOD * 255, 16, normalised=True)


@pytest.mark.parametrize(
    "kind", [torch.int8, torch.uint8, torch.int16, torch.uint16, torch.int32, torch.int64]
)
def test_targets_of_any_integer_type_become_int64(kind: torch.dtype) -> None:
    targets = check_targets(torch.tensor([0, 2, 1]).to(kind), 3)
    assert targets.dtype == torch.int64
    assert targets.tolist() == [0, 2, 1]


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int64, torch.float32])
def test_multi_hot_targets_become_floats(kind: torch.dtype) -> None:
    targets = check_targets(torch.eye(3).to(kind), 3, multi_label=True)
    assert targets.dtype == torch.float32
    assert torch.equal(targets, torch.eye(3))


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (["cat", "dog"], "targets are strs such as 'cat': give integers 0 to 2"),
        (np.array([0, 1]), "targets are ndarrays such as array([0, 1]): give integers 0 to 2"),
        (torch.tensor([0.0, 1.0]), "targets are float32 of shape (2,): give integers 0 to 2"),
        (torch.tensor([True]), "targets are bool of shape (1,): give integers 0 to 2"),
        (torch.eye(3).long(), "targets are int64 of shape (3, 3): give integers 0 to 2"),
        (torch.tensor([0, 3]), "target 3 was met: give integers 0 to 2"),
        (torch.tensor([0, -1], dtype=torch.int8), "target -1 was met: give integers 0 to 2"),
    ],
)
def test_other_targets_are_refused(targets: Any, sentence: str) -> None:
    assert refusal(check_targets, targets, 3) == sentence


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (
            torch.tensor([0, 1, 2]),
            "targets are int64 of shape (3,): give zeros and ones (batch, 3)",
        ),
        (torch.eye(4), "targets are float32 of shape (4, 4): give zeros and ones (batch, 3)"),
        (2 * torch.eye(3), "target 2.0 was met: give zeros and ones (batch, 3)"),
        (torch.eye(3) - 1, "target -1.0 was met: give zeros and ones (batch, 3)"),
        (torch.full((2, 3), torch.nan), "target nan was met: give zeros and ones (batch, 3)"),
    ],
)
def test_other_multi_hot_targets_are_refused(targets: Any, sentence: str) -> None:
    assert refusal(check_targets, targets, 3, multi_label=True) == sentence

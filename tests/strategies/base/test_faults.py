"""Numbers that are not finite are found early, with the samples that they came from."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.backbones.normalisation import normalisation_of
from cl_prompts.backbones.pixels import check_batch
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError, RunError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.strategies.base.faults import (
    LARGEST_WEIGHT,
    blame,
    check_weights,
    not_finite,
    positions,
)
from tests.toy_data import Blobs, experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

IMAGES = Blobs(6, seed=1).images
LABELS = torch.arange(6)


@pytest.fixture
def model() -> PromptedViT:
    return PromptedViT(tiny_vit(), 6)


@pytest.mark.parametrize(
    ("images", "labels", "says"),
    [
        (IMAGES[:, :1], LABELS, "shape"),
        (IMAGES * 255, LABELS, "255|range|\\[0, 1\\]"),
        (IMAGES, LABELS.float(), "targets are float32 of shape .*: give integers 0 to 5"),
    ],
)
def test_a_first_batch_that_cannot_be_learned_from_is_refused(
    model: PromptedViT, images: Any, labels: Any, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        check_batch(model, images, labels)
    check_batch(model, IMAGES, LABELS)


def test_who_normalises_decides_which_pixels_pass() -> None:
    vit = tiny_vit()
    own = FrozenViT(vit.vit, normalisation=normalisation_of("none", vit.vit))
    assert vit.normalises
    assert not own.normalises
    with pytest.raises(InputError, match='unless created with normalisation="none"'):
        check_batch(PromptedViT(vit, 6), IMAGES * 4 - 2, LABELS)
    check_batch(PromptedViT(own, 6), IMAGES * 4 - 2, LABELS)


def test_weights_that_ran_away_are_named(model: PromptedViT) -> None:
    check_weights(model, 40)
    for value in (2 * LARGEST_WEIGHT, float("nan"), -float("inf")):
        with torch.no_grad():
            model.head.weight[1, 2] = value
        with pytest.raises(RunError, match=r"the weights head\.weight reached .* after 40 samples"):
            check_weights(model, 40)
    assert not any(p.requires_grad for p in model.backbone.parameters())  # those are not read


def test_what_is_to_blame_for_a_loss_is_looked_for(model: PromptedViT) -> None:
    broken = IMAGES.clone()
    broken[1, 0, 0, 0], broken[4, 2, 3, 3] = float("nan"), float("inf")
    error = blame(float("nan"), broken, model, first=32)
    assert isinstance(error, RunError)
    says = "the loss became nan at stream positions from 32 on: the images at 33, 36 hold NaN"
    assert str(error).startswith(says)
    assert str(blame(float("inf"), IMAGES, model, 0)).endswith("a smaller learning rate may help")
    with torch.no_grad():
        model.backbone.vit.norm.bias[0] = float("nan")
    found = str(blame(float("nan"), IMAGES, model, 0))
    assert "the frozen features of the images at 0, 1, 2, 3, 4, 5 are not finite" in found


def test_rows_and_positions() -> None:
    values = torch.zeros(4, 2, 2)
    values[2, 1, 0] = float("inf")
    assert not_finite(values) == [2]
    assert positions(list(range(10)), 5) == "5, 6, 7, 8, 9, 10, 11, 12 and 2 more"


def test_a_run_stops_with_the_positions_of_its_broken_images() -> None:
    (first, *_) = experiences("class_incremental")
    strategy = fit(make("linear_probe", online_iter=1), [first])

    def broken(batch: Any) -> None:
        batch.columns[0][3] = float("nan")

    original = strategy.training_output
    strategy.training_output = lambda batch: (broken(batch), original(batch))[1]
    with pytest.raises(RunError, match=r"the images at \d+ hold NaN or infinity"):
        fit(strategy, [first])

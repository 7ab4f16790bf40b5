"""Valid batches pass; each kind of invalid batch raises its error with positions."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl_prompts.backbones.pixels import check_input, check_targets
from tests.refusals import check_refusals

GOOD = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1, 0])
SEVERAL = torch.eye(4)[:, :3]


def check(
    images: Any = GOOD, labels: Any = LABELS, *, several: bool = False, own: bool = True
) -> None:
    """Check the batch that begins at position 32 of a stream of three classes."""
    backbone = SimpleNamespace(features=None, image_size=16, normalises=own)
    check_input(backbone, images, first=32)
    check_targets(labels, 3, multi_label=several, first=32)


@pytest.mark.parametrize(
    "images", [GOOD, GOOD.half(), GOOD.double(), GOOD * 1.15 - 0.075, GOOD[:0]]
)
def test_images_in_the_unit_interval_pass(images: torch.Tensor) -> None:
    check(images)


def test_what_fits_the_model_passes() -> None:
    check(labels=SEVERAL, several=True)
    check(GOOD * 39.9 - 19.95, own=False)


def with_nan(values: torch.Tensor, row: int) -> torch.Tensor:
    values = values.clone()
    values[row] = float("nan")
    return values


def test_others_are_refused() -> None:
    cases: dict[str, dict[str, Any]] = {
        "an array": {"images": GOOD.numpy()},
        "bytes": {"images": (GOOD * 255).byte()},
        "one image": {"images": GOOD[0]},
        "grey": {"images": GOOD[:, :1]},
        "channels last": {"images": GOOD.permute(0, 2, 3, 1)},
        "another size": {"images": GOOD[..., :14, :14]},
        "up to 255": {"images": torch.cat([GOOD[:2], GOOD[2:] * 255])},
        "normalised": {"images": torch.cat([GOOD[:3], GOOD[3:] * 4 - 2])},
        "a little too dark": {"images": GOOD * 0 - 0.101},
        "not normalised here": {"images": GOOD * 255, "own": False},
        "nan": {"images": with_nan(GOOD, 1)},
        "words": {"labels": ["cat", "dog"]},
        "floats": {"labels": LABELS.float()},
        "int32": {"labels": LABELS.int()},
        "rows for ids": {"labels": SEVERAL.long()},
        "one too many": {"labels": LABELS + 1},
        "negative": {"labels": LABELS - 1},
        "ids for rows": {"labels": LABELS, "several": True},
        "too many columns": {"labels": torch.eye(4), "several": True},
        "twos": {"labels": 2 * SEVERAL, "several": True},
        "nan label": {"labels": with_nan(SEVERAL, 3), "several": True},
    }
    calls = {name: (lambda given=given: check(**given)) for name, given in cases.items()}
    check_refusals(Path(__file__).with_name("pixels.txt"), calls)

"""Normalisation of images by name, by checkpoint and by numbers."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.backbones.normalisation import normalisation_of
from cl_prompts.errors import InputError
from tests.toy_vits import tiny_vit


def test_normalisation_settings() -> None:
    vit = tiny_vit().vit
    assert normalisation_of("none", vit) == ((0.0,) * 3, (1.0,) * 3)
    vit.pretrained_cfg = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}
    assert normalisation_of("checkpoint", vit) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert normalisation_of([[0, 0, 0], [2, 2, 2]], vit)[1] == (2.0, 2.0, 2.0)
    tiny = [[0, 0, 0], [1e-300, 1, 1]]
    numbers = [[1, 2], [3, 4]], [[0, 0, 0], [1, 0, 1]], [[1e300] * 3, [1] * 3], tiny
    for bad in ("imagnet", *numbers, None, [0.5, 0.5], [["0"] * 3, ["1"] * 3], np.ones((2, 3))):
        with pytest.raises(InputError, match="normalisation"):
            normalisation_of(bad, vit)  # type: ignore[arg-type]

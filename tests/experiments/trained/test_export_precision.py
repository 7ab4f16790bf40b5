"""A backbone in bf16 has a program, and no ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.trained import exporting
from cl_prompts.experiments.trained.model import Model
from tests.toys import make


def test_onnx_of_bf16_is_refused_with_a_way_out(tmp_path: Path) -> None:
    strategy: Any = make("ncm")
    card: Any = None
    strategy.model.backbone.precision = "bf16"
    with pytest.raises(InputError, match="train with --precision fp32, or use --torch"):
        exporting.export(Model(strategy, card), tmp_path / "model.onnx", "onnx")
    assert not list(tmp_path.iterdir())

"""Runs without what takes longer than the training of toys."""

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import EMBEDDED, create_backbone
from cl_prompts.experiments.figures import style
from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.runner import building, task_loop

_BUILT: dict[str, FrozenViT] = {}
_BLANK = io.BytesIO()
Image.new("RGB", (2, 2)).save(_BLANK, "PNG")


def _backbone(name: str, **arguments: Any) -> FrozenViT:
    """The embedded ViT, built once; others anew."""
    if name != EMBEDDED or arguments["weights"] != "default":
        return create_backbone(name, **arguments)
    key = repr(sorted({**arguments, "seed": 0}.items()))
    if key not in _BUILT:
        _BUILT[key] = create_backbone(name, **arguments)
    return _BUILT[key]


@contextmanager
def sketched(*, pages: bool = False) -> Iterator[None]:
    """Blank charts, no wait for the disk, one embedded ViT for all runs, no garbage collection, and
    no report but with ``pages``."""
    with pytest.MonkeyPatch.context() as patch:
        # Nor is the engine that draws them begun: a process that is forked after that would hang.
        patch.setattr(style, "figure", lambda chart, form: _BLANK.getvalue())
        patch.setattr(report, "vl_convert", SimpleNamespace(javascript_bundle=str))
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(building, "create_backbone", _backbone)
        patch.setattr(task_loop, "gc", SimpleNamespace(collect=lambda: None))
        if not pages:
            patch.setattr(report, "write_report", lambda folders, out=None, **options: out)
        yield

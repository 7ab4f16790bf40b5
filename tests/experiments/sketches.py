"""Runs without what takes longer than the training of toys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from matplotlib.figure import Figure

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import EMBEDDED, create_backbone
from cl_prompts.experiments.report import page as report
from cl_prompts.experiments.runner import building

_BUILT: dict[str, FrozenViT] = {}


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
    """Runs without what takes longer than their training.

    Their pictures are composed, named and written as ever, but left blank; no disk is waited for,
    since what a killed process has written is there without; the embedded ViT, which is frozen, is
    built once for all of them; and no report is made.

    Args:
        pages: make reports nevertheless.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", lambda self, renderer: None)
        patch.setattr(os, "fsync", lambda handle: None)
        patch.setattr(building, "create_backbone", _backbone)
        if not pages:
            patch.setattr(report, "write_report", lambda folders, out=None, **options: out)
        yield

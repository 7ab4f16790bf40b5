"""Runs without what takes longer than the training of toys."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from matplotlib.figure import Figure

from cl_prompts.experiments.report import page as report


@contextmanager
def sketched(*, pages: bool = False) -> Iterator[None]:
    """Runs without what takes longer than their training.

    Their pictures are composed, named and written as ever, but left blank; no disk is waited for,
    since what a killed process has written is there without; and no report is made.

    Args:
        pages: make reports nevertheless.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "draw", lambda self, renderer: None)
        patch.setattr(os, "fsync", lambda handle: None)
        if not pages:
            patch.setattr(report, "write_report", lambda folders, out=None, **options: out)
        yield

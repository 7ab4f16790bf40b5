"""Balanced ridge on a stream: its settings."""

from __future__ import annotations

import pytest

from tests.toy_data import experiences
from tests.toys import fit, make


def test_settings_reach_the_classifier() -> None:
    assert make("balanced_ridge").model.head.relative == "evidence"
    strategy = fit(make("balanced_ridge", ridge=0.5, read_out="token"), experiences())
    head = strategy.model.head
    a, _ = head.system()
    head.solution()
    assert float(head.ridge) == pytest.approx(0.5 * float(a.diagonal().mean()))

"""Balanced ridge on a stream: its settings, and the memory that it asks for beforehand."""

from __future__ import annotations

import pytest

from cl_prompts.experiments.runner.memory import memory_forecast
from tests.toy_data import experiences
from tests.toys import fit, make


def test_settings_reach_the_classifier() -> None:
    assert make("balanced_ridge").model.head.relative == "evidence"
    strategy = fit(make("balanced_ridge", ridge=0.5, read_out="token"), experiences())
    head = strategy.model.head
    a, _ = head.system()
    head.solution()
    assert float(head.ridge) == pytest.approx(0.5 * float(a.diagonal().mean()))


def test_the_scatter_is_part_of_the_forecast() -> None:
    strategy = make("balanced_ridge", read_out="blocks:3")
    needed = memory_forecast(strategy, n_train=10, n_test=10, n_tasks=1, ends=True)
    assert needed["ridge regression"] == 2 * 8 * (3 * 16) ** 2

"""Learning without forgetting; its term is tested in plugins/test_distillation.py."""

from __future__ import annotations

from cl_prompts.strategies import Distillation, LwF
from tests.toy_data import experiences
from tests.toys import fit, make


def test_it_is_a_linear_head_with_distillation_as_published() -> None:
    (plugin,) = LwF.own_plugins
    assert isinstance(plugin, Distillation)
    assert plugin.values_of() == {"weight": 0.2, "temperature": 2.0, "teacher_from": "task"}


def test_a_period_ends_at_its_multiple_though_a_batch_is_longer() -> None:
    strategy = fit(make("lwf", period=5, online_iter=1), experiences())
    assert strategy.next_period == (strategy.samples_seen // 5 + 1) * 5

"""Learning without forgetting; its term is tested in plugins/test_distillation.py."""

from __future__ import annotations

from cl_prompts.strategies import Distillation, LwF


def test_it_is_a_linear_head_with_distillation_as_published() -> None:
    (plugin,) = LwF.own_plugins
    assert isinstance(plugin, Distillation)
    assert plugin.values_of() == {"weight": 0.2, "temperature": 2.0, "teacher_from": "task"}

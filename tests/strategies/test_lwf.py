"""Learning without forgetting; its term is tested in plugins/test_distillation.py."""

from __future__ import annotations

from cl_prompts.strategies import Distillation, LwF
from tests.toys import make


def test_it_is_a_linear_head_with_distillation_as_published() -> None:
    defaults = {name: setting.default for name, setting in LwF.settings().items()}
    found = (defaults["lr"], defaults["train_mb_size"], defaults["online_iter"])
    assert found == (5e-3, 64, 3)
    assert (defaults["period"], defaults["backbone_lr"], defaults["buffer_size"]) == (1000, 0, 0)
    plugin = make("lwf").plugin(Distillation)
    assert (plugin.weight, plugin.temperature, plugin.teacher_from) == (0.2, 2.0, "task")
    assert plugin.teacher is None

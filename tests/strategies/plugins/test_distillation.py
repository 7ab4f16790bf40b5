"""Distillation: what a method holds on to, and at what cost."""

from typing import Any

import pytest
import torch

from cl_prompts.strategies import Distillation
from tests.toy_data import experiences
from tests.toys import close, fit, make, watch, weights


def distilled(
    kind: str, scenario: str = "si_blurry", *, settings: dict[str, Any] | None = None, **more: Any
) -> tuple[Any, Distillation]:
    plugin = Distillation(**(settings or {}))
    return make(kind, scenario, plugins=[plugin], **more), plugin


@pytest.mark.parametrize("changes", [{"settings": {"weight": 0.0}}, {"period": None}])
def test_without_a_teacher_it_is_a_linear_probe(changes: dict[str, Any]) -> None:
    plain = weights(fit(make("linear_probe"), experiences()))
    close(weights(fit(distilled("lwf", **changes)[0], experiences())), plain)


def test_the_teacher_may_be_the_model_of_the_batch_before() -> None:
    strategy, plugin = distilled("lwf", settings={"teacher_from": "batch"}, train_mb_size=8)
    heads = []
    teachers = []

    def note(labels: torch.Tensor) -> None:
        heads.append((strategy.model.head.weight.clone(), strategy.model.seen.clone()))

    def look(output: Any, batch: Any) -> None:
        if plugin.teacher is not None:
            teachers.append((len(heads), plugin.teacher.weight.clone(), plugin.known.clone()))

    watch(strategy, "observe_classes", note)
    watch(strategy, "training_loss", look)
    fit(strategy, experiences()[:2])
    assert len(heads) > 2
    assert len(teachers) == 2 * (len(heads) - 1)  # two updates a batch
    for batch, weight, known in teachers:
        assert torch.equal(weight, heads[batch - 1][0])
        assert torch.equal(known, heads[batch - 1][1])


def test_the_term_is_its_formula() -> None:
    strategy, plugin = distilled(
        "lwf", "class_incremental", settings={"weight": 0.7, "temperature": 3.0}
    )
    checked = []
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])

    def note(output: Any, batch: Any) -> None:
        old = plugin.teacher(output.features).detach()[:, plugin.known] / 3
        new = output.logits.detach()[:, plugin.known] / 3
        term = -(old.softmax(1) * new.log_softmax(1)).sum() / len(new)
        plain = torch.nn.functional.cross_entropy(output.logits.detach(), batch.labels)
        torch.testing.assert_close(strategy.loss.detach().squeeze(), plain + 0.7 * term)
        checked.append(float(term))

    watch(strategy, "after_step", note)
    fit(strategy, [second])
    assert min(checked) > 0

"""Learning without forgetting: what it holds on to, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.models.prompted import PromptedViT
from tests.toy_data import Scenes, experiences
from tests.toys import close, fit, make, watch, weights


@pytest.mark.parametrize("changes", [{"distillation": 0.0}, {"period": None}])
def test_without_a_teacher_it_is_a_linear_probe(changes: dict[str, Any]) -> None:
    plain = weights(fit(make("linear_probe"), experiences()))
    close(weights(fit(make("lwf", **changes), experiences())), plain)


@pytest.mark.parametrize("kind", ["lwf", "lwf_tuned"])
def test_it_holds_on_to_old_answers(kind: str) -> None:
    def drift(distillation: float) -> float:
        strategy = make(kind, "class_incremental", lr=0.02, distillation=distillation)
        first, second, *_ = experiences("class_incremental", train=240)
        fit(strategy, [first])
        images = torch.stack([second.dataset[row][0] for row in range(20)])
        old = sorted(first.classes_in_this_experience)
        assert strategy.known.nonzero().flatten().tolist() == old
        with torch.no_grad():
            before = strategy.model(images)[:, old].softmax(dim=1)
        fit(strategy, [second])
        with torch.no_grad():
            after = strategy.model(images)[:, old].softmax(dim=1)
        return float((after - before).abs().mean())

    assert drift(5.0) < 0.8 * drift(0.0)


def test_it_costs_no_second_pass_on_a_frozen_backbone() -> None:
    for kind, passes in (("lwf", 1), ("lwf_tuned", 2)):
        strategy = make(kind, "class_incremental")
        first, second, *_ = experiences("class_incremental")
        fit(strategy, [first])
        assert isinstance(strategy.teacher, PromptedViT) == (kind == "lwf_tuned")
        assert not any(p.requires_grad for p in strategy.teacher.parameters())
        counter = strategy.model.backbone.counter
        counter.reset()
        fit(strategy, [second])
        assert counter.images == passes * 2 * len(second.dataset)


def test_the_teacher_may_be_the_model_of_the_batch_before() -> None:
    strategy, heads, teachers = make("lwf_batch", train_mb_size=8), [], []

    def note(labels: torch.Tensor) -> None:
        heads.append((strategy.model.head.weight.clone(), strategy.model.seen.clone()))

    def look(output: Any, batch: Any) -> None:
        if strategy.teacher is not None:
            teachers.append((len(heads), strategy.teacher.weight.clone(), strategy.known.clone()))

    watch(strategy, "observe_classes", note)
    watch(strategy, "training_loss", look)
    fit(strategy, experiences()[:2])
    assert len(heads) > 2
    assert len(teachers) == 2 * (len(heads) - 1)  # two updates a batch
    for batch, weight, known in teachers:
        assert torch.equal(weight, heads[batch - 1][0])
        assert torch.equal(known, heads[batch - 1][1])


def test_multi_label_pseudo_labels_are_the_teachers() -> None:
    images = Scenes(60, seed=1).images

    def drift(distillation: float) -> float:
        strategy = make("lwf_tuned", "mlcil", lr=0.02, distillation=distillation)
        first, second, *_ = experiences("mlcil", train=240)
        fit(strategy, [first])
        old = sorted(first.classes_in_this_experience)
        with torch.no_grad():
            before = strategy.model(images)[:, old]
        fit(strategy, [second])
        with torch.no_grad():
            return float((strategy.model(images)[:, old] - before).abs().mean())

    assert drift(5.0) < 0.8 * drift(0.0)


def test_the_distillation_is_its_formula() -> None:
    strategy, checked = make("lwf", "class_incremental", distillation=0.7, temperature=3.0), []
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])

    def note(output: Any, batch: Any) -> None:
        old = strategy.teacher(output.features).detach()[:, strategy.known] / 3
        new = output.logits.detach()[:, strategy.known] / 3
        distilled = -(old.softmax(1) * new.log_softmax(1)).sum() / len(new)
        plain = torch.nn.functional.cross_entropy(output.logits.detach(), batch.labels)
        torch.testing.assert_close(strategy.loss.detach().squeeze(), plain + 0.7 * distilled)
        checked.append(float(distilled))

    watch(strategy, "after_step", note)
    fit(strategy, [second])
    assert min(checked) > 0


def test_the_teacher_keeps_the_head_input_of_its_time() -> None:
    strategy = make("lwf", "class_incremental", head_input="whitened")
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])
    features = strategy.model.backbone(torch.stack([second.dataset[row][0] for row in range(8)]))
    with torch.no_grad():
        old = strategy.model.classify(features).logits[:, strategy.known]
        torch.testing.assert_close(strategy.teacher(features)[:, strategy.known], old)
    known, strategy.finish_task = strategy.known, lambda: None  # no new teacher after this task
    fit(strategy, [second])
    assert not torch.equal(strategy.teacher[0].mean, strategy.model.whitening.mean)
    with torch.no_grad():
        torch.testing.assert_close(strategy.teacher(features)[:, known], old)

"""EWC++ and LwF: what they hold on to, when, and at what cost."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.models.prompted import PromptedViT
from cl_prompts.scenarios import mlcil_benchmark
from cl_prompts.strategies import LinearProbe
from tests.strategies.test_baselines import (
    Scenes,
    blurry,
    incremental,
    lively_vit,
    make,
    same,
    train,
    weights,
)


@pytest.mark.parametrize(
    ("kind", "boundaries"), [("ewcpp", None), ("ewcpp", True), ("lwf", None), ("lwf", True)]
)
def test_task_ends_are_announced_or_every_period(kind: str, boundaries: bool | None) -> None:
    strategy, experiences = make(kind, boundaries=boundaries), blurry()
    finish, at = strategy.finish_task, []

    def note() -> None:
        at.append(strategy.samples_seen)
        finish()

    strategy.finish_task = note
    train(strategy, experiences)
    ends = torch.tensor([len(e.dataset) for e in experiences]).cumsum(0).tolist()
    assert at == ends if boundaries else [point // 40 for point in at] == [1, 2, 3]


def test_ewc_without_a_consolidation_is_experience_replay() -> None:
    plain = weights(train(make("er"), blurry()))
    assert same(plain, weights(train(make("ewcpp", period=None), blurry())))
    assert same(plain, weights(train(make("ewcpp", reg_coef=0.0), blurry())))
    assert not same(plain, weights(train(make("ewcpp", reg_coef=1e4), blurry())))


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_ewc_moves_what_mattered_less(backbone_lr: float) -> None:
    def moved(reg_coef: float) -> float:
        strategy = make("ewcpp", reg_coef=reg_coef, buffer_size=0, backbone_lr=backbone_lr)
        strategy.optimizer = torch.optim.SGD(
            [p for p in strategy.model.parameters() if p.requires_grad], lr=0.05
        )
        experiences = incremental()
        train(strategy, experiences[:1])
        assert set(strategy.ewc.anchor) == {
            n for n, p in strategy.model.named_parameters() if p.requires_grad
        }
        anchor, importance = dict(strategy.ewc.anchor), dict(strategy.ewc.importance)
        strategy.boundaries, strategy.period = False, None  # the anchor stays
        train(strategy, experiences[1:])
        now = dict(strategy.model.named_parameters())
        return sum(float((importance[n] * (now[n] - anchor[n]).square()).sum()) for n in anchor)

    assert moved(30.0) < 0.9 * moved(0.0)


def test_ewc_steps_along_loss_and_penalty_but_its_fisher_sees_the_loss_alone() -> None:
    strategy = make("ewcpp", buffer_size=0, online_iter=1)
    first, second, *_ = incremental()
    strategy.train(first, eval_streams=[])
    ewc: Any = strategy.ewc
    observe, expected, head = ewc.observe_gradients, [], strategy.model.head.weight

    def note() -> None:
        fresh = F.cross_entropy(strategy.model(strategy.mb_x), strategy.mb_y)
        plain = torch.autograd.grad(fresh, head)[0]
        torch.testing.assert_close(head.grad, plain)
        old = ewc.fisher["head.weight"].clone()
        observe()
        torch.testing.assert_close(ewc.fisher["head.weight"], (old + plain.square()) / 2)
        expected.append(plain + torch.autograd.grad(ewc.penalty(), head)[0])

    ewc.observe_gradients = note
    strategy.after_step = lambda: torch.testing.assert_close(head.grad, expected[-1])
    strategy.train(second, eval_streams=[])
    assert len(expected) == 3
    assert bool((ewc.importance["head.weight"] > 0).any())


def probe() -> Any:
    torch.manual_seed(0)
    return LinearProbe(
        backbone=lively_vit(), n_classes=6, lr=0.02, train_mb_size=16, device="cpu", evaluator=None
    )


@pytest.mark.parametrize("changes", [{"distillation": 0.0}, {"period": None}])
def test_lwf_without_a_teacher_is_a_linear_probe(changes: dict[str, Any]) -> None:
    first, second = (
        weights(train(make("lwf", **changes), blurry())),
        weights(train(probe(), blurry())),
    )
    for name, value in first.items():
        torch.testing.assert_close(value, second[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["lwf", "lwf_tuned"])
def test_lwf_holds_on_to_old_answers(kind: str) -> None:
    def drift(distillation: float) -> float:
        strategy, (first, second, *_) = make(kind, distillation=distillation), incremental()
        strategy.train(first, eval_streams=[])
        images = torch.stack([second.dataset[row][0] for row in range(20)])
        old = first.classes_in_this_experience
        with torch.no_grad():
            before = strategy.model(images)[:, sorted(old)].softmax(dim=1)
        known = strategy.known.nonzero().flatten().tolist()
        assert set(known) == old
        strategy.train(second, eval_streams=[])
        with torch.no_grad():
            after = strategy.model(images)[:, sorted(old)].softmax(dim=1)
        return float((after - before).abs().mean())

    assert drift(5.0) < 0.8 * drift(0.0)


def test_lwf_costs_no_second_pass_on_a_frozen_backbone() -> None:
    for kind, passes in (("lwf", 1), ("lwf_tuned", 2)):
        strategy, (first, second, *_) = make(kind), incremental()
        strategy.train(first, eval_streams=[])
        assert isinstance(strategy.teacher, PromptedViT) == (kind == "lwf_tuned")
        assert not any(p.requires_grad for p in strategy.teacher.parameters())
        counter = strategy.model.backbone.counter
        counter.reset()
        strategy.train(second, eval_streams=[])
        assert counter.images == passes * 3 * len(second.dataset)
        names = dict(strategy.model.named_parameters())
        assert len([p for g in strategy.optimizer.param_groups for p in g["params"]]) == len(
            [p for p in names.values() if p.requires_grad]
        )


def test_lwf_teacher_of_the_batch_before() -> None:
    strategy, (first, *_) = make("lwf_batch"), blurry()
    heads, teachers = [], []
    meet, training_loss = strategy.meet, strategy.training_loss

    def note(labels: torch.Tensor) -> None:
        heads.append((strategy.model.head.weight.clone(), strategy.model.seen.clone()))
        meet(labels)

    def look() -> torch.Tensor:
        if strategy.teacher is not None:
            teachers.append((len(heads), strategy.teacher.weight.clone(), strategy.known.clone()))
        return training_loss()

    strategy.meet, strategy.training_loss = note, look
    strategy.train(first, eval_streams=[])
    assert len(heads) > 1
    assert len(teachers) == 3 * (len(heads) - 1)
    for batch, weight, known in teachers:
        assert torch.equal(weight, heads[batch - 1][0])
        assert torch.equal(known, heads[batch - 1][1])


def test_lwf_multi_label_pseudo_labels_are_the_teacher_s() -> None:
    data = Scenes(120, 6, seed=1), Scenes(48, 6, seed=2)

    def drift(distillation: float) -> float:
        strategy = make("lwf_tuned", multi_label=True, distillation=distillation, backbone_lr=0.01)
        first, second, *_ = mlcil_benchmark(*data, protocol="B0-C2").train_stream
        strategy.train(first, eval_streams=[])
        old = sorted(first.classes_in_this_experience)
        with torch.no_grad():
            before = strategy.model(data[0].images)[:, old]
        strategy.train(second, eval_streams=[])
        with torch.no_grad():
            return float((strategy.model(data[0].images)[:, old] - before).abs().mean())

    assert drift(5.0) < 0.8 * drift(0.0)

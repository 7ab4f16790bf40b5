"""The penalty of EWC++: what it holds on to, when, and which gradients its Fisher sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.strategies import EWC
from tests.strategies.shared import resumes
from tests.toy_data import experiences
from tests.toys import fit, make


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_what_mattered_moves_less(backbone_lr: float) -> None:
    def moved(reg_coef: float) -> float:
        plugin = EWC(reg_coef=reg_coef)
        strategy = make("ewcpp", plugins=[plugin], buffer_size=0, backbone_lr=backbone_lr)
        learning = [p for p in strategy.model.parameters() if p.requires_grad]
        strategy.optimizer = torch.optim.SGD(learning, lr=0.05)
        first, *rest = experiences("class_incremental")
        fit(strategy, [first])
        named = dict(strategy.model.named_parameters())
        anchor = dict(plugin.importance.anchor)
        importance = dict(plugin.importance.importance)
        assert set(anchor) == {n for n, p in named.items() if p.requires_grad}
        strategy.boundaries = False  # the anchor stays
        strategy.period = None
        fit(strategy, rest)
        now = dict(strategy.model.named_parameters())
        return sum(float((importance[n] * (now[n] - anchor[n]).square()).sum()) for n in anchor)

    # Steps along a penalty of 30 diverge on some initial weights.
    assert moved(10.0) < 0.9 * moved(0.0)


def test_it_steps_along_loss_and_penalty_but_its_fisher_sees_the_loss_alone() -> None:
    plugin = EWC(ema=0.9)
    strategy = make("ewcpp", plugins=[plugin], buffer_size=0, online_iter=1)
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])
    ewc: Any = plugin.importance
    observe = ewc.observe_gradients
    expected = []
    head = strategy.model.head.weight

    def note() -> None:
        fresh = F.cross_entropy(strategy.model(strategy.mb_x), strategy.mb_y)
        plain = torch.autograd.grad(fresh, head)[0]
        torch.testing.assert_close(head.grad, plain)
        old = ewc.fisher["head.weight"].clone()
        observe()
        # F <- ema F + (1 - ema) grad^2
        torch.testing.assert_close(ewc.fisher["head.weight"], 0.9 * old + 0.1 * plain.square())
        expected.append(plain + torch.autograd.grad(ewc.penalty(), head)[0])

    ewc.observe_gradients = note
    strategy.after_step = lambda output, batch: torch.testing.assert_close(head.grad, expected[-1])
    fit(strategy, [second])
    assert len(expected) == 2
    assert bool((ewc.importance["head.weight"] > 0).any())


@pytest.mark.parametrize("kind", ["one_prompt", "mvp"])
def test_any_gradient_method_has_it_and_resumes(kind: str) -> None:
    strategy = resumes(lambda: make(kind, period=24, plugins=[EWC()]), "si_blurry")
    ewc = strategy.plugin(EWC).importance
    assert any(bool(value.any()) for value in ewc.importance.values())

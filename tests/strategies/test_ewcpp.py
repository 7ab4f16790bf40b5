"""EWC++: what it holds on to, when, and which gradients its Fisher sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toys import fit, make, same, weights


def test_without_a_consolidation_it_is_experience_replay() -> None:
    plain = weights(fit(make("er"), experiences()))
    assert same(plain, weights(fit(make("ewcpp", period=None), experiences())))
    assert same(plain, weights(fit(make("ewcpp", reg_coef=0.0), experiences())))
    assert not same(plain, weights(fit(make("ewcpp", reg_coef=1e4), experiences())))


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_what_mattered_moves_less(backbone_lr: float) -> None:
    def moved(reg_coef: float) -> float:
        strategy = make("ewcpp", reg_coef=reg_coef, buffer_size=0, backbone_lr=backbone_lr)
        learning = [p for p in strategy.model.parameters() if p.requires_grad]
        strategy.optimizer = torch.optim.SGD(learning, lr=0.05)
        first, *rest = experiences("class_incremental")
        fit(strategy, [first])
        named = dict(strategy.model.named_parameters())
        assert set(strategy.ewc.anchor) == {n for n, p in named.items() if p.requires_grad}
        anchor, importance = dict(strategy.ewc.anchor), dict(strategy.ewc.importance)
        strategy.boundaries, strategy.period = False, None  # the anchor stays
        fit(strategy, rest)
        now = dict(strategy.model.named_parameters())
        return sum(float((importance[n] * (now[n] - anchor[n]).square()).sum()) for n in anchor)

    # Steps along a penalty of 30 diverge on some initial weights.
    assert moved(10.0) < 0.9 * moved(0.0)


def test_it_steps_along_loss_and_penalty_but_its_fisher_sees_the_loss_alone() -> None:
    strategy = make("ewcpp", buffer_size=0, online_iter=1, ema=0.9)
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])
    ewc: Any = strategy.ewc
    observe, expected, head = ewc.observe_gradients, [], strategy.model.head.weight

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


@pytest.mark.parametrize(
    ("changes", "says"), [({"reg_coef": -1.0}, "reg_coef"), ({"ema": 1.5}, "ema is 1.5")]
)
def test_bad_settings_are_refused(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make("ewcpp", **changes)

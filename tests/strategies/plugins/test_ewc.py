"""The penalty of EWC++: what it holds on to, when, and which gradients its Fisher sees."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.strategies import EWC
from cl_prompts.training.ewc import OnlineEWC
from tests.toy_data import experiences
from tests.toys import fit, make


def penalty(ewc: OnlineEWC) -> torch.Tensor:
    """``reg_coef * sum importance (p - anchor)^2`` over all anchored parameters."""
    parameters = dict(ewc.model.named_parameters())
    total = torch.zeros(())
    for name, anchor in ewc.anchor.items():
        total = total + (ewc.importance[name] * (parameters[name] - anchor).square()).sum()
    return ewc.reg_coef * total


@pytest.mark.parametrize("backbone_lr", [0.0, 1e-3])
def test_the_penalty_trains_weights_and_stays_out_of_the_fisher_information(
    backbone_lr: float,
) -> None:
    plugin = EWC(ema=0.9)
    strategy = make(
        "ewcpp", plugins=[plugin], buffer_size=0, online_iter=1, backbone_lr=backbone_lr
    )
    first, second, *_ = experiences("class_incremental")
    fit(strategy, [first])
    ewc: Any = plugin.importance
    named = strategy.model.named_parameters()
    assert set(ewc.anchor) == {name for name, p in named if p.requires_grad}
    observe = ewc.observe_gradients
    head = strategy.model.head.weight
    held = ewc.importance["head.weight"].clone(), head.detach().clone()
    expected = []

    def note() -> None:
        fresh = F.cross_entropy(strategy.model(strategy.mb_x), strategy.mb_y)
        plain = torch.autograd.grad(fresh, head)[0]
        torch.testing.assert_close(head.grad, plain)
        old = ewc.fisher["head.weight"].clone()
        observe()
        # F <- ema F + (1 - ema) grad^2
        torch.testing.assert_close(ewc.fisher["head.weight"], 0.9 * old + 0.1 * plain.square())
        # until the next consolidation
        assert torch.equal(ewc.importance["head.weight"], held[0])
        assert torch.equal(ewc.anchor["head.weight"], held[1])
        expected.append(plain + torch.autograd.grad(penalty(ewc), head)[0])

    ewc.observe_gradients = note
    strategy.after_step = lambda output, batch: torch.testing.assert_close(head.grad, expected[-1])
    fit(strategy, [second])
    assert len(expected) == 2
    assert bool((ewc.importance["head.weight"] > 0).any())

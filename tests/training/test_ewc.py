"""EWC++: Fisher, anchor and penalty on a model small enough to check by hand."""

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.training.ewc import OnlineEWC


def frozen_with_head() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def penalty(ewc: OnlineEWC) -> Tensor:
    """``reg_coef * sum importance (p - anchor)^2`` over all anchored parameters."""
    parameters = dict(ewc.model.named_parameters())
    total = torch.zeros(())
    for name, anchor in ewc.anchor.items():
        total = total + (ewc.importance[name] * (parameters[name] - anchor).square()).sum()
    return ewc.reg_coef * total


def backward(model: nn.Module, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    loss = model(torch.randn(8, 3, generator=generator)).square().mean()
    loss.backward()
    return loss


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("ema", [0.5, 0.9])
def test_fisher_is_a_running_mean_that_starts_at_the_first_square(ema: float) -> None:
    model = frozen_with_head()
    ewc = OnlineEWC(model, ema=ema)
    expected: dict[str, Tensor] = {}
    for seed in range(3):
        backward(model, seed)
        ewc.observe_gradients()
        for name, g in gradients(model).items():
            old = expected.get(name, g**2)
            expected[name] = ema * old + (1 - ema) * g**2
    # the head too: it is all that trains on a frozen backbone
    assert set(ewc.fisher) == {"2.weight", "2.bias"}
    for name, value in expected.items():
        torch.testing.assert_close(ewc.fisher[name], value)
    assert penalty(ewc) == 0


def test_penalty_and_its_closed_gradient() -> None:
    model = frozen_with_head()
    ewc = OnlineEWC(model, reg_coef=7.0)
    backward(model, 0)
    ewc.observe_gradients()
    ewc.consolidate()
    importance, anchor = (
        {n: v.clone() for n, v in d.items()} for d in (ewc.importance, ewc.anchor)
    )
    assert penalty(ewc) == 0
    with torch.no_grad():
        for p in model[2].parameters():
            p += torch.randn_like(p)
    expected = sum(
        7.0 * (importance[n] * (p - anchor[n]) ** 2).sum()
        for n, p in model.named_parameters()
        if p.requires_grad
    )
    torch.testing.assert_close(penalty(ewc), expected)
    loss = backward(model, 1)
    plain = gradients(model)
    ewc.observe_gradients()
    torch.testing.assert_close(
        ewc.fisher["2.bias"], 0.5 * importance["2.bias"] + 0.5 * plain["2.bias"] ** 2
    )
    # until the next consolidation
    torch.testing.assert_close(ewc.importance["2.bias"], importance["2.bias"])
    ewc.add_penalty_gradient()
    closed = gradients(model)
    model.zero_grad()
    (
        model(torch.randn(8, 3, generator=torch.Generator().manual_seed(1))).square().mean()
        + penalty(ewc)
    ).backward()
    assert loss.isfinite()
    for name, g in gradients(model).items():
        torch.testing.assert_close(closed[name], g)
        assert not torch.allclose(closed[name], plain[name])

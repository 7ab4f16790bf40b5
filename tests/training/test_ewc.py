"""EWC++'s Fisher on a model small enough to check by hand."""

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.training.ewc import OnlineEWC


def frozen_with_head() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    model[0].requires_grad_(False)
    return model


def backward(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    model.zero_grad()
    model(torch.randn(8, 3, generator=generator)).square().mean().backward()


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

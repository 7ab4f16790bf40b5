"""LwF's and DER++'s losses against their literal formulas."""

import pytest
import torch

from cl_prompts.losses.distillation import distillation_loss, stored_logit_loss

SEEN = torch.tensor([True, False, True, True, False])


def logits(n: int, seed: int) -> torch.Tensor:
    return torch.randn(n, 5, generator=torch.Generator().manual_seed(seed)) * 3


@pytest.mark.parametrize("temperature", [2.0, 1e4])
def test_distillation_is_the_literal_sum_over_the_teacher_s_columns(temperature: float) -> None:
    new = logits(6, 0).requires_grad_()
    old = logits(6, 1)
    p = (old[:, SEEN] / temperature).softmax(1)
    q = (new[:, SEEN] / temperature).log_softmax(1)
    expected = -(p * q).sum() / 6
    expected.backward()
    gradient, new.grad = new.grad, None
    loss = distillation_loss(new, old, SEEN, temperature=temperature)
    loss.backward()
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(new.grad, gradient)
    assert (new.grad[:, ~SEEN] == 0).all()
    now = SEEN | (torch.arange(5) == 1)  # a class has come since: no difference
    masked = new.masked_fill(~now, -torch.inf), old.masked_fill(~SEEN, -torch.inf)
    same = distillation_loss(*masked, SEEN, temperature=temperature)
    torch.testing.assert_close(same, loss)


def test_stored_logits_count_where_they_existed() -> None:
    now = logits(3, 0)
    stored = logits(3, 1)
    existed = torch.tensor([[1, 0, 0, 0, 0], [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]]).bool()
    seen = torch.tensor([True, True, True, True, False])
    current = now.masked_fill(~seen, -torch.inf).requires_grad_()
    loss = stored_logit_loss(current, stored.masked_fill(~seen, -torch.inf), existed)
    pairs = existed.nonzero().tolist()
    expected = sum(float(now[i, c] - stored[i, c]) ** 2 for i, c in pairs) / len(pairs)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert current.grad.isfinite().all()
    assert ((current.grad != 0) == existed).all()
    assert stored_logit_loss(now, stored, torch.zeros_like(existed)) == 0


def test_without_a_class_that_the_teacher_has_seen_nothing_is_distilled() -> None:
    none = torch.zeros(5, dtype=torch.bool)
    old = logits(6, 1).masked_fill(~none, -torch.inf)
    assert distillation_loss(old, old, none) == 0

"""Prompts mixed from components: attention, growth, orthogonality."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.prompts.components import AttentionWeights, GrowingRows, orthogonal_rows
from cl_prompts.prompts.task_aware import start_task


def literal_weights(selector: AttentionWeights, query: Tensor) -> Tensor:
    """The formula as written: every query times every attention vector, normalised, times every
    normalised key."""
    key = selector.key()
    attention = selector.attention()
    product = torch.einsum("bd,lmd->lbmd", query, attention)
    return torch.einsum("lbmd,lmd->lbm", F.normalize(product, dim=-1), F.normalize(key, dim=-1))


@pytest.mark.parametrize("n_tasks", [None, 3])
def test_two_matrix_products_equal_the_literal_attention(n_tasks: int | None) -> None:
    torch.manual_seed(0)
    selector = AttentionWeights(4, 12, 16, n_tasks=n_tasks)
    query = 5 * torch.randn(7, 16)
    start_task(selector, 1) if n_tasks else None
    fast = selector(query)
    slow = literal_weights(selector, query)
    n = 12 if n_tasks is None else 8
    assert fast.weights.shape == (4, 7, n)
    torch.testing.assert_close(fast.weights, slow, atol=1e-6, rtol=0)
    torch.testing.assert_close(1 - fast.distance, slow.mean(0), atol=1e-6, rtol=0)
    assert fast.index.tolist() == [list(range(n))] * 7
    selector.observe(fast)
    torch.testing.assert_close(selector.count[:n], slow.abs().mean(0).sum(0))
    assert not selector.count[n:].any()
    mine = [p for p in selector.parameters() if p.requires_grad and p.abs().sum() > 0]
    ramp = torch.arange(slow.numel()).view_as(slow)
    for a, b in zip(
        torch.autograd.grad((fast.weights * ramp).sum(), mine),
        torch.autograd.grad((slow * ramp).sum(), mine),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_new_rows_are_orthonormal_whatever_the_past() -> None:
    past = 3 * torch.randn(2, 5, 16)
    draws = torch.randn(2, 4, 16)
    rows = orthogonal_rows(past, draws)
    torch.testing.assert_close(
        rows @ rows.transpose(1, 2), torch.eye(4).expand(2, 4, 4), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(rows @ past.transpose(1, 2), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)


def test_earlier_components_stay_bit_for_bit_under_weight_decay_and_momentum() -> None:
    torch.manual_seed(0)
    rows = GrowingRows(2, 7, 16, n_tasks=3)  # 2 rows a task, one left over
    # one optimizer for all tasks
    optimizer = torch.optim.AdamW(rows.parameters(), lr=0.1, weight_decay=0.5)

    def learn() -> None:
        for _ in range(3):
            optimizer.zero_grad(set_to_none=False)
            (rows() * torch.randn(16)).sum().backward()
            optimizer.step()

    for task in range(3):
        start_task(rows, task)
        assert rows().shape == (2, 2 * (task + 1), 16)
        past = [p.detach().clone() for p in rows.rows[:task]]
        future = rows.rows[task + 1 :]
        fresh = rows.rows[task].detach().clone()
        learn()
        assert all(torch.equal(p, q) for p, q in zip(rows.rows[:task], past, strict=True))
        assert all((p == 0).all() for p in future)
        assert not torch.equal(rows.rows[task], fresh)
        assert [p.requires_grad for p in rows.rows] == [i >= task for i in range(3)]

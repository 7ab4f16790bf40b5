"""Attention over two parts, combined, equals attention over both."""

import pytest
import torch
import torch.nn.functional as F
from torch.profiler import profile

from cl_prompts.backbones.attention import MULTIPLIED_KEYS, attend


def heads(n: int, dtype: torch.dtype) -> torch.Tensor:
    drawn = torch.randn(2, 3, n, 8, generator=torch.Generator().manual_seed(n))
    return drawn.to(dtype).requires_grad_()


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("n_keys", [7, MULTIPLIED_KEYS, MULTIPLIED_KEYS + 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_short_sequences_in_bf16_are_multiplied_out_on_the_cpu(
    dtype: torch.dtype, n_keys: int, autocast: bool
) -> None:
    parts = [heads(4, dtype), heads(n_keys, dtype), heads(n_keys, dtype)]
    parts[1] = parts[1] + 5  # what keys have in common
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), profile() as seen:
        attended = attend(*parts)
        attended.float().square().sum().backward()
    fused = {"aten::scaled_dot_product_attention"} & {event.key for event in seen.key_averages()}
    half = autocast or dtype == torch.bfloat16
    assert bool(fused) == (not half or n_keys > MULTIPLIED_KEYS)
    assert attended.dtype == (torch.bfloat16 if half else dtype)


def test_attention_that_is_multiplied_out_is_attention() -> None:
    query = heads(4, torch.bfloat16)
    keys = heads(7, torch.bfloat16)
    values = heads(9, torch.bfloat16)
    values = values[:, :, 2:]
    shifted = keys + 5
    found = torch.autograd.grad(attend(query, shifted, values).sum(), (query, keys))
    exact = [part.detach().double().requires_grad_() for part in (query, shifted, values)]
    want = F.scaled_dot_product_attention(*exact)
    wanted = torch.autograd.grad(want.sum(), exact[:2])
    torch.testing.assert_close(attend(query, shifted, values).double(), want, atol=0.02, rtol=0)
    for mine, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(mine.double(), theirs, atol=0.03, rtol=0)

"""Passes on one rank's rows; two real ranks are in tests/families/test_ranks.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import PassCounter, ViTShape
from cl_prompts.backbones.ranks import Share
from cl_prompts.backbones.split_passes import dropout, own_rows, split, whole_rows
from tests.toy_vits import tiny_vit

N = 5


@pytest.fixture(params=[(0, 2), (2, 5), (5, 5), (0, 5)], ids=str)
def share(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Share]:
    """The rows of one rank; what the other ranks would send is zero."""
    share = Share(N, *request.param)

    def gathered(own: list[Tensor], n: int) -> list[Tensor]:
        assert n == N
        return [F.pad(t.flatten(1), (0, 0, share.start, N - share.stop)).view(N, *t.shape[1:])
                for t in own]  # fmt: skip

    monkeypatch.setattr(ranks, "share", lambda n: share)
    monkeypatch.setattr(ranks, "gathered", gathered)
    monkeypatch.setattr(ranks, "total", lambda values: values)
    return share


def counter() -> PassCounter:
    return PassCounter(ViTShape.of(tiny_vit().vit))


def test_results_and_gradients_are_those_of_the_own_rows(share: Share) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    rows = torch.randn(N, 3, requires_grad=True)
    common = torch.randn(1, 3, requires_grad=True)
    weight = torch.randn(N, 2)
    mine = torch.zeros(N, 1)
    mine[share.start : share.stop] = 1

    def function(rows: Tensor, common: Tensor) -> Tensor:
        assert not ranks.is_distributed()
        return layer(rows * common)

    out = split(function, [rows], [common], modules=[layer], counter=counter())
    wanted = function(rows, common) * mine
    torch.testing.assert_close(out, wanted)
    inputs = [rows, common, *layer.parameters()]
    found = torch.autograd.grad((out * weight).sum(), inputs)
    for gradient, other in zip(
        found, torch.autograd.grad((wanted * weight).sum(), inputs), strict=True
    ):
        torch.testing.assert_close(gradient, other)


def test_what_is_not_gathered_has_zeros_for_other_rows(share: Share) -> None:
    rows = torch.randn(N, 3)
    out = split(torch.exp, [rows], counter=counter(), whole=False)
    assert torch.equal(out[share.start : share.stop], rows[share.start : share.stop].exp())
    assert out.count_nonzero() == 3 * share.kept


def test_the_counter_stands_for_the_whole_batch(share: Share) -> None:
    count = counter()

    def function(rows: Tensor) -> Tensor:
        count.embed(len(rows))
        return rows

    split(function, [torch.zeros(N, 1)], counter=count)
    assert count.images == N
    assert count.macs == pytest.approx(N * count.shape.embed_macs)


def inside(function: Callable[[Tensor], Tensor]) -> Tensor:
    """A function of the own rows in a split pass over rows of ones."""
    return split(function, [torch.ones(N, 4)], counter=counter(), whole=False)


def test_dropout_is_drawn_for_the_whole_batch(share: Share) -> None:
    torch.manual_seed(1)
    whole = F.dropout(torch.ones(N, 4), 0.5)
    torch.manual_seed(1)
    out = inside(lambda own: dropout(own, 0.5, training=True))
    assert torch.equal(out[share.start : share.stop], whole[share.start : share.stop])
    assert torch.equal(dropout(whole, 0.5, training=False), whole)


def test_values_leave_and_enter_a_pass(share: Share) -> None:
    order = torch.arange(N)[:, None].expand(N, 4)
    seen = []

    def function(own: Tensor) -> Tensor:
        seen.append(whole_rows(own))
        return own * own_rows(order)

    out = inside(function)
    assert torch.equal(out[share.start : share.stop], order[share.start : share.stop].float())
    assert seen[0].shape == (N, 4)
    assert int(seen[0].sum()) == 4 * share.kept
    assert whole_rows(order) is order
    assert own_rows(order) is order

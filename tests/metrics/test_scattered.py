"""Test images of one rank among others."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl_prompts.backbones import ranks
from cl_prompts.backbones.cost import Counts
from cl_prompts.metrics import scattered
from cl_prompts.models.cached_parts import CachedPart
from cl_prompts.models.prompted import PromptedViT
from tests.toy_vits import tiny_vit


@pytest.fixture
def second_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is rank 1 of 2; rank 0 adds nothing to a sum."""
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(ranks, "rank", lambda: 1)
    monkeypatch.setattr(ranks, "total", torch.clone)
    monkeypatch.setattr(ranks, "highest", lambda *numbers: [max(3, n) for n in numbers])


@pytest.mark.usefixtures("second_of_two")
def test_every_second_row_is_this_ranks() -> None:
    assert scattered.is_own(torch.tensor([0, 3, 4, 7])).tolist() == [False, True, False, True]


@pytest.mark.usefixtures("second_of_two")
def test_values_find_their_rows() -> None:
    wanted = torch.tensor([2, 3, 5, 8])
    own = torch.tensor([5, 3])
    values = torch.tensor([[1.0, 2.0, -torch.inf], [4.0, 5.0, 6.0]])
    rows, found = scattered.all_rows(wanted, own, values)
    assert torch.equal(rows, wanted)
    assert found.tolist() == [[0, 0, 0], [4, 5, 6], [1, 2, -torch.inf], [0, 0, 0]]
    nothing = scattered.all_rows(wanted, own[:0], torch.zeros(0, 2))[1]
    assert nothing.shape == (4, 3)  # as wide as that of the other rank


@pytest.mark.usefixtures("second_of_two")
def test_a_cache_is_joined_for_a_checkpoint_and_taken_apart_after_it() -> None:
    part = CachedPart(0, n=4)
    part.put(torch.tensor([0, 1, 3]), torch.arange(9.0).view(3, 3))
    scattered.keep_own(part)
    assert part.known.tolist() == [False, True, False, True]
    whole = scattered.joined(part)
    assert whole.known.tolist() == part.known.tolist()
    assert torch.equal(whole.values, part.values)
    assert scattered.joined(CachedPart(0, n=4)).values.shape == (4, 3)


def test_work_is_counted_for_all(second_of_two: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "total", lambda values: 3 * values)
    model = PromptedViT(tiny_vit(), 3)
    counter = model.backbone.counter
    counter.embed(1)
    before = scattered.counts_of(model)
    counter.embed(2)
    assert scattered.spent(model, before) == pytest.approx(6 * counter.shape.embed_macs)
    assert scattered.counts_of(model).images == 7
    assert scattered.spent(nn.Identity(), Counts()) == 0.0

"""Shares of a batch, and what ranks tell each other; here by a job of one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import distributed, nn

from cl_prompts.backbones import ranks
from cl_prompts.backbones.ranks import Share
from cl_prompts.errors import InputError, RunError


@pytest.fixture
def job() -> Iterator[None]:
    """A process group of this process alone."""
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    ranks.leave()


@pytest.mark.parametrize("n", [1, 2, 7, 64])
@pytest.mark.parametrize("n_ranks", [1, 2, 5])
def test_shares_are_nearly_equal_and_cover_a_batch(n: int, n_ranks: int) -> None:
    shares = [Share.of_rank(rank, ranks=n_ranks, n=n) for rank in range(n_ranks)]
    assert [row for share in shares for row in range(share.start, share.stop)] == list(range(n))
    kept = [share.kept for share in shares]
    assert max(kept) - min(kept) <= 1
    # Whoever has no row works on one all the same.
    assert all(len(range(n)[share.rows]) == max(share.kept, 1) for share in shares)


def test_without_a_job_a_process_works_for_itself() -> None:
    assert (ranks.size(), ranks.rank(), ranks.is_distributed()) == (1, 0, False)
    assert ranks.share(5) == Share(5, 0, 5)
    assert ranks.highest(3, -1) == [3, -1]
    assert ranks.is_first_to_say("anything")
    ranks.leave()


def test_apart_shares_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "size", lambda: 2)
    assert ranks.is_distributed()
    with ranks.local_only():
        assert not ranks.is_distributed()
        assert ranks.share(5) == Share(5, 0, 5)
    assert ranks.share(5) == Share(5, 0, 2)


@pytest.mark.usefixtures("job")
def test_rows_of_any_type_are_gathered_bit_for_bit() -> None:
    own = [
        torch.randn(3, 2, 4).transpose(1, 2),
        torch.tensor([1, -2, 3]),
        torch.tensor([[True], [False], [True]]),
        torch.randn(3, 5, dtype=torch.bfloat16),
        torch.full((3, 1), -torch.inf, dtype=torch.float64),
    ]
    found = ranks.gathered(own, 3)
    for first, second in zip(found, own, strict=True):
        assert first.dtype == second.dtype
        assert torch.equal(first, second)


@pytest.mark.usefixtures("job")
def test_sums_and_words_reach_every_rank() -> None:
    values = torch.tensor([1.5, 2.0])
    assert torch.equal(ranks.total(values), values)
    assert ranks.broadcast_text('{"folder": "Läufe"}') == '{"folder": "Läufe"}'


@pytest.mark.usefixtures("job")
def test_gradients_are_those_of_rank_0(monkeypatch: pytest.MonkeyPatch) -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    model(torch.ones(1, 2)).sum().backward()
    model[1].bias.grad = None
    before = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    sent = []
    monkeypatch.setattr(ranks, "size", lambda: 2)
    monkeypatch.setattr(distributed, "broadcast", lambda flat, source: sent.append(flat.mul_(2)))
    ranks.share_gradients(model)
    assert not sent  # the CPU adds in one order
    monkeypatch.setattr(ranks, "IN_ORDER", ())
    ranks.share_gradients(model)
    assert len(sent) == 1
    after = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    assert all(torch.equal(after[name], 2 * values) for name, values in before.items())


def test_a_rank_that_is_left_alone_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object) -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(distributed, "all_reduce", broken)
    with pytest.raises(RunError, match=r"rank 0 of 1 waited in vain"):
        ranks.total(torch.ones(1))


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(InputError, match="--nproc-per-node=2"):
        ranks.start()

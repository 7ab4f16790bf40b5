"""SMoPE's pool: what its choice of experts depends on."""

import torch
from torch import Tensor

from cl_prompts.prompts.sparse import BlockRouting, SparsePrefix


def routing(pool: SparsePrefix, queries: Tensor) -> BlockRouting:
    found = pool.build(None).routed[0]
    found(queries)
    assert isinstance(found, BlockRouting)
    return found


def test_an_expert_that_was_frequent_once_stays_so() -> None:
    pool = SparsePrefix((0,), 6, 2, 16, 2)
    for expert, count in ((0, 3), (1, 90)):
        pool.fresh_counts[..., expert] = count
        pool.end_task()
    assert pool.frequent[0, 0].tolist() == [True, True, False, False, False, False]


def test_experts_that_were_never_used_are_never_chosen_in_evaluation() -> None:
    pool = SparsePrefix((0,), 6, 2, 16, 2).eval()
    queries = torch.randn(50, 2, 7, 8)
    assert len(routing(pool, queries).index.unique()) == 6  # nothing was counted yet
    pool.counts[..., [1, 4, 5]] = 3
    assert set(routing(pool, queries).index.unique().tolist()) <= {1, 4, 5}

"""SMoPE's pool against published numbers, and what its choice does not depend on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.losses.classification import masked_cross_entropy
from cl_prompts.prompts.sparse import BlockRouting, SparsePrefix
from tests.golden_numbers import Golden, golden_vit, gradient, put

GOLDEN = Golden("smope")
CURRENT = torch.tensor([False, False, True, True, False, False, False, False])


def published() -> tuple[SparsePrefix, nn.Linear]:
    n_blocks, heads, size, width = GOLDEN("keys").shape
    pool = SparsePrefix(
        range(n_blocks),
        size,
        int(GOLDEN("k")),
        heads * width,
        heads,
        epsilon=GOLDEN.number("epsilon"),
        router_weight=GOLDEN.number("router_weight"),
        prototype_weight=GOLDEN.number("prototype_weight"),
    )
    head = nn.Linear(32, 8)
    put(pool.keys, GOLDEN("keys"))
    put(pool.values, GOLDEN("values"))
    put(head.weight, GOLDEN("head_weight"))
    put(head.bias, GOLDEN("head_bias"))
    return pool, head


def features(pool: SparsePrefix) -> tuple[Tensor, PromptPlan]:
    vit = golden_vit()
    plan = pool.build(None)
    return vit.class_features(vit.embed(GOLDEN("images")), plan), plan


def check(pool: SparsePrefix, head: nn.Linear, case: str) -> None:
    pool.zero_grad()
    head.zero_grad()
    got, plan = features(pool)
    GOLDEN.close(got, f"{case}/features")
    logits = head(got)
    GOLDEN.close(logits, f"{case}/logits")
    for i, routing in plan.routed.items():
        assert isinstance(routing, BlockRouting)
        torch.testing.assert_close(routing.scores, GOLDEN(f"{case}/scores")[i], atol=2e-5, rtol=0)
        if not pool.dense:
            want = GOLDEN(f"{case}/scores_for_choice")[i]
            torch.testing.assert_close(routing.for_choice, want, atol=2e-5, rtol=0)
            assert torch.equal(routing.index, GOLDEN(f"{case}/index")[i])
    own = plan.loss()
    assert own is not None
    GOLDEN.close(own, f"{case}/prompt_loss", atol=1e-4)
    loss = masked_cross_entropy(logits, GOLDEN("labels"), CURRENT) + own
    GOLDEN.close(loss, f"{case}/loss", atol=1e-4)
    loss.backward()
    GOLDEN.close(gradient(pool.keys), f"{case}/grad_keys")
    GOLDEN.close(gradient(pool.values), f"{case}/grad_values")
    GOLDEN.close(gradient(head.weight), f"{case}/grad_head_weight")


def test_published_run() -> None:
    pool, head = published()
    pool.dense = True
    check(pool, head, "dense_task0")
    pool.dense = False
    check(pool, head, "sparse_task0")
    pool.eval()
    with pool.counting():
        features(pool)
    pool.end_task()
    assert torch.equal(pool.counts.long(), GOLDEN("counts"))
    assert torch.equal(pool.frequent, GOLDEN("frequent"))
    got, plan = features(pool)
    GOLDEN.close(head(got), "eval_after_task0/logits")
    for i, routing in plan.routed.items():
        assert isinstance(routing, BlockRouting)
        assert torch.equal(routing.index, GOLDEN("eval_after_task0/index")[i])
        for name, found in (("scores", routing.scores), ("scores_for_choice", routing.for_choice)):
            want = GOLDEN(f"eval_after_task0/{name}")[i]
            torch.testing.assert_close(found, want, atol=2e-5, rtol=0)
    assert plan.loss() is None
    pool.train()
    put(pool.keys, GOLDEN("task1/keys"))
    put(pool.values, GOLDEN("task1/values"))
    check(pool, head, "sparse_task1")


def routing(pool: SparsePrefix, queries: Tensor) -> BlockRouting:
    found = pool.build(None).routed[0]
    found(queries)
    assert isinstance(found, BlockRouting)
    return found


def test_the_choice_does_not_depend_on_a_constant_or_on_batch_mates() -> None:
    pool = SparsePrefix((0,), 6, 2, 16, 2)
    pool.frequent.bernoulli_(0.5, generator=torch.Generator().manual_seed(0))
    queries = torch.randn(5, 2, 7, 8)
    before = routing(pool, queries).index
    alone = torch.cat([routing(pool, queries[i : i + 1]).index for i in range(5)])
    assert torch.equal(alone, before)
    with torch.no_grad():
        pool.keys += torch.randn(1, 2, 1, 8)  # the same for all experts of a head
    assert torch.equal(routing(pool, queries).index, before)


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

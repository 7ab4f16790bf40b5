"""Pools: layouts, growth, what trains and what stays, and their compositions on a frozen ViT."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import (
    AttentionWeights,
    ComponentPool,
    GrowingRows,
    gram_schmidt,
    orthogonal_rows,
    orthogonality,
)
from cl_prompts.prompts.pools import PrependedTokenPool, class_position
from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix, split_heads
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from tests.conftest import tiny_vit

N_CLASSES = 6


def slots(size: int = 4, **changes: Any) -> TaskSlots:
    return TaskSlots(NearestKeys(size, 16, initial="uniform"), **changes)


def model_of(selector: nn.Module | None, *pools: nn.Module) -> PromptedViT:
    return PromptedViT(tiny_vit(), N_CLASSES, selector=selector, pools=pools)


COMPOSITIONS: dict[str, Callable[[], PromptedViT]] = {
    "l2p": lambda: model_of(NearestKeys(4, 16, k=2), PrependedTokenPool(4, 3, 16)),
    "l2p_shallow_prefix": lambda: model_of(NearestKeys(4, 16, k=2), PrefixPool(4, (0,), 3, 16, 2)),
    "dual_prompt": lambda: model_of(
        slots(), SharedPrefix((0, 1), 2, 16, 2), PrefixPool(4, (1, 2), 3, 16, 2, copy_slots=1)
    ),
    "coda_prompt": lambda: model_of(
        AttentionWeights(3, 8, 16, n_tasks=4), ComponentPool(8, (0, 1, 2), 4, 16, 2, n_tasks=4)
    ),
    "coda_prompt_without_boundaries": lambda: model_of(
        AttentionWeights(3, 8, 16), ComponentPool(8, (0, 1, 2), 4, 16, 2)
    ),
    "one_prompt": lambda: model_of(None, SharedPrefix((0, 1, 2, 3), 2, 16, 2)),
}


@pytest.fixture(params=COMPOSITIONS.values(), ids=COMPOSITIONS.keys())
def model(request: pytest.FixtureRequest) -> PromptedViT:
    torch.manual_seed(3)
    made: PromptedViT = request.param()
    made.see(torch.arange(N_CLASSES))
    return made


def images(n: int = 5) -> Tensor:
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(7))


# ------------------------------------------------------------------------------------- compositions


@pytest.mark.parametrize("task", [-1, 2])
def test_logits_do_not_depend_on_batch_mates(model: PromptedViT, task: int) -> None:
    start_task(model, 0)
    for t in range(1, task + 1):
        start_task(model, t)
    model.eval()
    together = model(images())
    torch.testing.assert_close(
        together, torch.cat([model(x[None]) for x in images()]), atol=1e-5, rtol=0
    )
    order = torch.tensor([3, 1, 4, 0, 2])
    torch.testing.assert_close(model(images()[order]), together[order], atol=1e-5, rtol=0)


def test_with_a_vote_they_do() -> None:
    torch.manual_seed(3)
    selector = BatchwisePrompt(NearestKeys(12, 16), 12, in_evaluation=True)
    model = model_of(selector, PrefixPool(12, (0, 1), 3, 16, 2)).eval()
    model.see(torch.arange(N_CLASSES))
    varied = torch.cat([images(3), torch.zeros(3, 3, 16, 16), torch.ones(1, 3, 16, 16)])
    with torch.no_grad():
        query = model.frozen_part(varied)
        assert query is not None
        selector.inner.key[:7] = query  # every image prefers a prompt of its own
    alone = torch.cat([model(x[None]) for x in varied])
    assert (model(varied) - alone).abs().max() > 1e-3


def test_only_prompts_keys_and_head_train_and_they_move(model: PromptedViT) -> None:
    frozen = {k: v.clone() for k, v in model.backbone.state_dict().items()}
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1
    )
    before = {k: v.detach().clone() for k, v in model.named_parameters() if k.startswith("pools")}
    model.train()
    assert not any(m.training for m in model.backbone.modules())
    start_task(model, 0)
    for _ in range(3):
        optimizer.zero_grad()
        out = model.run(images())
        loss = nn.functional.cross_entropy(out.logits, torch.tensor([0, 1, 2, 3, 4]))
        (loss if out.selection is None else loss - 0.1 * out.selection.match).backward()
        optimizer.step()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert all(torch.equal(v, frozen[k]) for k, v in model.backbone.state_dict().items())
    moved = {
        k for k, v in model.named_parameters() if k in before and not torch.equal(v, before[k])
    }
    assert moved


def test_an_image_needs_two_passes_and_one_with_its_stored_query(model: PromptedViT) -> None:
    counter = model.backbone.counter
    counter.reset()
    want = model.run(images())
    assert counter.blocks == 5 * (4 if model.selector is None else 8)
    assert set(want.cacheable) == (set() if model.selector is None else {"frozen"})
    counter.reset()
    torch.testing.assert_close(
        model.run(images(), want.cacheable).logits, want.logits, atol=1e-6, rtol=0
    )
    assert counter.blocks == 5 * 4


def test_state_in_the_middle_of_the_tasks(
    model: PromptedViT, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    for t in range(3):
        start_task(model, t)
    torch.manual_seed(11)
    other: PromptedViT = request.node.callspec.params["model"]()
    model.save(tmp_path / "learned.safetensors")
    other.load(tmp_path / "learned.safetensors")
    for mode in (True, False):
        assert torch.equal(other.train(mode)(images()), model.train(mode)(images()))
    trainable = [{k for k, p in m.named_parameters() if p.requires_grad} for m in (model, other)]
    assert trainable[0] == trainable[1]


@pytest.mark.parametrize(
    "plan",
    [
        {"prefix": {0: (torch.zeros(1, 2, 3, 8),) * 2, 3: (torch.zeros(1, 2, 4, 8),) * 2}},
        {"prepended": torch.zeros(1, 6, 16), "prefix": {2: (torch.zeros(1, 2, 1, 8),) * 2}},
    ],
    ids=["prefixes", "kept"],
)
def test_counted_work_is_what_the_flop_counter_sees(plan: dict[str, Any]) -> None:
    backbone = tiny_vit()
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops, torch.no_grad():
        backbone.class_features(backbone.embed(images(1)), PromptPlan(**plan))
    assert backbone.counter.macs == pytest.approx(flops.get_total_flops() / 2, rel=1e-6)


def test_a_training_step_costs_three_forwards() -> None:
    backbone = tiny_vit(img_size=64, embed_dim=64, depth=12)
    parts: list[nn.Module] = [
        TaskSlots(NearestKeys(4, 64)),
        SharedPrefix((0, 1), 5, 64, 2),
        PrefixPool(4, (2, 3, 4), 20, 64, 2),
    ]
    model = PromptedViT(backbone, 4, selector=parts[0], pools=parts[1:])
    model.see(torch.arange(4))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        model(torch.rand(2, 3, 64, 64)).sum().backward()
    assert flops.get_total_flops() / 2 < 3.05 * 2 * backbone.forward_macs


# ----------------------------------------------------------------------------------------- prefixes


def random_prefix(n: int = 3) -> PromptPlan:
    return SharedPrefix((0, 2), n, 16, 2).build(None)


def features(backbone: FrozenViT, plan: PromptPlan) -> Tensor:
    return backbone.class_features(backbone.embed(images()), plan)


def test_order_of_rows_does_not_matter_and_no_rows_are_no_prompt(vit: FrozenViT) -> None:
    plan = random_prefix()
    order = torch.tensor([2, 0, 1])
    shuffled = PromptPlan(
        prefix={b: (k[:, :, order], v[:, :, order]) for b, (k, v) in plan.prefix.items()}
    )
    torch.testing.assert_close(features(vit, shuffled), features(vit, plan), atol=1e-5, rtol=0)
    torch.testing.assert_close(
        features(vit, random_prefix(0)), features(vit, PromptPlan()), atol=1e-5, rtol=0
    )
    assert (features(vit, plan) - features(vit, PromptPlan())).abs().max() > 1e-3


def test_keys_that_no_query_attends_to_have_no_effect(vit: FrozenViT) -> None:
    with torch.no_grad():
        vit.vit.blocks[0].attn.qkv.bias[:16] += 10  # all queries of block 0 lie to one side
    for values in (torch.zeros(1, 2, 1, 8), torch.randn(1, 2, 1, 8)):
        away, near = (
            PromptPlan(prefix={0: (torch.full((1, 2, 1, 8), sign), values)}) for sign in (-9.0, 9.0)
        )
        torch.testing.assert_close(
            features(vit, away), features(vit, PromptPlan()), atol=1e-6, rtol=0
        )
        assert (features(vit, near) - features(vit, PromptPlan())).abs().max() > 1e-2


def test_every_image_gets_its_own_keys_and_values() -> None:
    pool, selector = PrefixPool(4, (1, 3), 2, 16, 2), NearestKeys(4, 16, k=2)
    selection = selector(torch.randn(6, 16))
    plan = pool.build(selection)
    for i, block in enumerate((1, 3)):
        for b, row in enumerate(selection.index.tolist()):
            for part in (0, 1):
                literal = torch.cat(
                    [pool.values[entry, i, part] for entry in row]
                )  # (k * length, dim)
                assert torch.equal(
                    plan.prefix[block][part][b], literal.view(4, 2, 8).transpose(0, 1)
                )


def test_heads_are_contiguous_channels() -> None:
    keys, values = split_heads(torch.arange(24.0).view(1, 2, 2, 6), 3)
    assert keys[0, :, 0].tolist() == [[0, 1], [2, 3], [4, 5]]
    assert values[0, 2].tolist() == [[16, 17], [22, 23]]


def test_slot_copies_are_made_once_and_leave_other_slots_alone() -> None:
    for pool in (
        PrefixPool(3, (0,), 2, 16, 2, copy_slots=1),
        PrependedTokenPool(3, 2, 16, copy_slots=1),
    ):
        before = pool.values.detach().clone()
        start_task(pool, 0)
        assert torch.equal(pool.values, before)
        start_task(pool, 1)
        assert torch.equal(pool.values[1], before[0])
        assert torch.equal(pool.values[[0, 2]], before[[0, 2]])
        start_task(pool, 7)  # beyond the pool
        assert torch.equal(pool.values[2], before[2])


def test_a_task_moves_its_own_slot_and_key_alone() -> None:
    torch.manual_seed(0)
    model = COMPOSITIONS["dual_prompt"]().train()
    model.see(torch.arange(N_CLASSES))
    start_task(model, 2)
    pool, keys = model.pools[1], model.selector.inner  # type: ignore[union-attr]
    before = pool.values.detach().clone(), keys.key.detach().clone()
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        out = model.run(images())
        assert out.selection is not None
        (out.logits.logsumexp(1).sum() - out.selection.match).backward()
        optimizer.step()
    for now, then in zip((pool.values, keys.key), before, strict=True):
        same = [torch.equal(now[i], then[i]) for i in range(4)]
        assert same == [True, True, False, True]


def test_kept_tokens_may_carry_the_class_tokens_position(vit: FrozenViT) -> None:
    selection = NearestKeys(4, 16, k=2)(torch.randn(3, 16))
    plain, moved = (
        PrependedTokenPool(4, 2, 16),
        PrependedTokenPool(4, 2, 16, position=class_position(vit)),
    )
    moved.load_state_dict(plain.state_dict())  # the position is the backbone's, not the pool's
    a, b = plain.build(selection).prepended, moved.build(selection).prepended
    assert a is not None
    assert b is not None
    assert a.shape == (3, 4, 16)
    torch.testing.assert_close(b - a, vit.vit.pos_embed[:, :1].expand(3, 4, -1), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="no positional embedding"):
        class_position(tiny_vit(no_embed_class=True))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SharedPrefix((0, 0), 2, 16, 2), r"blocks is \[0, 0\]"),
        (lambda: PrefixPool(4, (0,), -1, 16, 2), "length is -1: it cannot be negative"),
        (lambda: PrefixPool(4, (0,), 2, 16, 3), "16 does not divide into 3 heads"),
        (
            lambda: ComponentPool(4, (0,), 3, 16, 2),
            "length is 3: half of a component's rows are keys",
        ),
        (lambda: GrowingRows(1, 3, 16, n_tasks=4), "3 components cannot be divided among 4 tasks"),
        (
            lambda: GrowingRows(1, 30, 16),
            "30 components of width 16 cannot be orthogonal: give at most 16",
        ),
        (lambda: GrowingRows(1, 3, 16, orthogonal="qrr"), "did you mean 'qr'"),
        (lambda: start_task(GrowingRows(1, 4, 16, n_tasks=2), 2), "task 2 has no components"),
        (
            lambda: start_task(GrowingRows(1, 4, 16, n_tasks=4), 2),
            "task 2 is announced after task 0",
        ),
    ],
)
def test_bad_input_is_refused(make: Callable[[], Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        make()


@pytest.mark.parametrize(
    "pool",
    [PrefixPool(4, (0,), 2, 16, 2), PrependedTokenPool(4, 2, 16), ComponentPool(4, (0,), 2, 16, 2)],
)
def test_a_pool_without_its_selector_says_so(pool: Any) -> None:
    with pytest.raises(TypeError, match="give the model"):
        pool.build(None)


# --------------------------------------------------------------------------------------- components


def test_new_rows_are_orthonormal_whatever_the_past() -> None:
    past, draws = 3 * torch.randn(2, 5, 16), torch.randn(2, 4, 16)
    rows = orthogonal_rows(past, draws)
    torch.testing.assert_close(
        rows @ rows.transpose(1, 2), torch.eye(4).expand(2, 4, 4), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(rows @ past.transpose(1, 2), torch.zeros(2, 4, 5), atol=1e-5, rtol=0)
    assert (
        gram_schmidt(past, draws) @ past.transpose(1, 2)
    ).abs().max() > 1e-2  # the published form is not


def test_both_forms_agree_while_the_past_is_orthogonal() -> None:
    past = (
        orthogonal_rows(torch.zeros(2, 0, 16), torch.randn(2, 5, 16))
        * torch.tensor([1.0, 2, 3, 4, 5])[:, None]
    )
    draws = torch.randn(2, 4, 16)
    torch.testing.assert_close(
        orthogonal_rows(past, draws), gram_schmidt(past, draws), atol=1e-5, rtol=0
    )


def test_a_vanished_row_takes_no_part_in_gram_schmidt() -> None:
    past, draws = torch.randn(1, 3, 8), torch.randn(1, 2, 8)
    padded = torch.cat([past, torch.zeros(1, 1, 8)], dim=1)
    assert torch.equal(gram_schmidt(padded, draws), gram_schmidt(past, draws))


def test_the_penalty_vanishes_for_orthonormal_rows() -> None:
    rows = GrowingRows(3, 6, 16)()
    assert orthogonality(rows).item() == pytest.approx(0, abs=1e-10)
    assert orthogonality(2 * rows).item() == pytest.approx(3 * 9 / 6, rel=1e-4)


@pytest.mark.parametrize("orthogonal", ["qr", "gram_schmidt"])
def test_earlier_components_stay_bit_for_bit_under_weight_decay_and_momentum(
    orthogonal: str,
) -> None:
    torch.manual_seed(0)
    rows = GrowingRows(2, 7, 16, n_tasks=3, orthogonal=orthogonal)  # 2 rows a task, one left over
    optimizer = torch.optim.AdamW(
        rows.parameters(), lr=0.1, weight_decay=0.5
    )  # one optimizer for all tasks

    def learn() -> None:
        for _ in range(3):
            optimizer.zero_grad(set_to_none=False)
            (rows() * torch.randn(16)).sum().backward()
            optimizer.step()

    for task in range(3):
        start_task(rows, task)
        assert rows().shape == (2, 2 * (task + 1), 16)
        past, future = [p.detach().clone() for p in rows.rows[:task]], rows.rows[task + 1 :]
        fresh = rows.rows[task].detach().clone()
        learn()
        assert all(torch.equal(p, q) for p, q in zip(rows.rows[:task], past, strict=True))
        assert all((p == 0).all() for p in future)
        assert not torch.equal(rows.rows[task], fresh)
        assert [p.requires_grad for p in rows.rows] == [i >= task for i in range(3)]


def test_components_to_come_have_no_say() -> None:
    torch.manual_seed(0)
    model = COMPOSITIONS["coda_prompt"]().eval()
    model.see(torch.arange(N_CLASSES))
    start_task(model, 1)
    want = model(images())
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, GrowingRows):
                for part in list(module.rows)[2:]:
                    part.normal_()
    assert torch.equal(model(images()), want)


def test_without_boundaries_all_components_train_from_the_start() -> None:
    rows = GrowingRows(2, 7, 16)
    start_task(rows, 3)
    assert rows().shape == (2, 7, 16)
    assert all(p.requires_grad for p in rows.parameters())


def test_growth_is_part_of_the_state() -> None:
    rows = GrowingRows(2, 6, 16, n_tasks=3)
    start_task(rows, 1)
    other = GrowingRows(2, 6, 16, n_tasks=3)
    other.load_state_dict(rows.state_dict())
    assert torch.equal(other(), rows())
    assert [p.requires_grad for p in other.rows] == [False, True, True]


def test_sizes_of_published_settings() -> None:
    count = lambda m: sum(p.numel() for p in m.parameters())  # noqa: E731
    assert count(PrependedTokenPool(10, 5, 768)) + count(NearestKeys(10, 768)) == 46_080
    dual = [
        SharedPrefix((0, 1), 5, 768, 12),
        PrefixPool(10, (2, 3, 4), 20, 768, 12),
        NearestKeys(10, 768),
    ]
    assert sum(map(count, dual)) == 944_640
    assert count(AttentionWeights(5, 100, 768, n_tasks=10)) == 2 * 5 * 100 * 768
    assert count(ComponentPool(100, range(5), 8, 768, 12, n_tasks=10)) == 5 * 100 * 8 * 768

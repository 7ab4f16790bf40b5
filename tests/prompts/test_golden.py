"""Prompt pools against the published implementations' numbers (tests/golden/prompt_pools.npz)."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import (
    AttentionWeights,
    ComponentPool,
    GrowingRows,
    orthogonal_rows,
)
from cl_prompts.prompts.pools import PrependedTokenPool
from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix
from cl_prompts.prompts.selectors import NearestKeys, Selection
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from cl_prompts.strategies import L2P, CODAPrompt, DualPrompt
from cl_prompts.training.rates import learning_rate_factor
from tests.golden_numbers import Golden, add_position, golden_strategy, golden_vit, gradient, put

golden = Golden("prompt_pools", ".")
close = partial(golden.close, atol=1e-5)
#: classes of the task in vit/...
CURRENT = torch.tensor([False, False, False, True, True, True, False])


def prefix_rows(plan: PromptPlan, block: int) -> tuple[Tensor, Tensor]:
    """Keys and values of a block as (batch, rows, dim)."""
    keys, values = plan.prefix[block]
    return keys.transpose(1, 2).flatten(2), values.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("case", ["instance", "batchwise", "batchwise_clustered", "mask_task1"])
def test_l2p_pool(case: str) -> None:
    keys = NearestKeys(8, 32, k=3)
    pool = PrependedTokenPool(8, 3, 32)
    put(keys.key, golden("l2p/keys"))
    put(pool.values, golden("l2p/pool"))
    voted = case.startswith("batchwise")
    selector = BatchwisePrompt(keys) if voted else TaskSlots(keys)
    if case == "mask_task1":
        start_task(selector, 1)
    clustered = "_clustered" if "clustered" in case else ""
    selection = selector(golden(f"l2p/query{clustered}"))
    want = golden(f"l2p/{case}/idx")
    assert torch.equal(*(x.sort(1).values if voted else x for x in (selection.index, want)))
    close(1 - selection.distance, f"l2p/{case}/similarity")
    close(selection.match, f"l2p/{case}/reduce_sim")

    prompts = pool.build(selection).prepended
    prompted = torch.cat([prompts, golden("l2p/x_embed")], dim=1)
    if voted:  # the vote fixes a set, its order is the file's own
        got, other = (
            x[:, :9].unflatten(1, (3, 3)) for x in (prompted, golden(f"l2p/{case}/prompted"))
        )
        order = selection.index.argsort(1)[0]
        theirs = want.argsort(1)[0]
        torch.testing.assert_close(got[:, order], other[:, theirs], atol=1e-5, rtol=0)
    else:
        close(prompted, f"l2p/{case}/prompted")
    (0.01 * prompted.square().sum() - 0.1 * selection.match).backward()
    close(gradient(pool.values), f"l2p/{case}/grad_pool")
    close(gradient(keys.key), f"l2p/{case}/grad_keys")


def e_values(pool: Tensor) -> Tensor:
    """(layers, 2, size, rows, heads, channels) -> our (size, layers, 2, rows, dim)."""
    return pool.permute(2, 0, 1, 3, 4, 5).flatten(4)


@pytest.mark.parametrize("case", ["match", "task2"])
def test_dual_prompt_pool(case: str) -> None:
    selector = TaskSlots(NearestKeys(5, 32))
    pool = PrefixPool(5, (2, 3, 4), 2, 32, 4)
    put(selector.inner.key, golden("dual/keys"))
    put(pool.values, e_values(golden("dual/pool")))
    if case == "task2":
        start_task(selector, 2)
    selection = selector(golden("dual/query"))
    assert torch.equal(selection.index, golden(f"dual/{case}/idx"))
    close(1 - selection.distance, f"dual/{case}/similarity")
    close(selection.match, f"dual/{case}/reduce_sim")
    plan = pool.build(selection)
    got = torch.stack([torch.stack(plan.prefix[block], dim=1) for block in (2, 3, 4)]).transpose(
        3, 4
    )
    close(got, f"dual/{case}/prompt_correct")
    assert (got - golden(f"dual/{case}/prompt_as_published_port")).abs().max() > 0.1


def test_dual_prompt_majority() -> None:
    keys = NearestKeys(5, 32)
    put(keys.key, golden("dual/keys"))
    assert torch.equal(
        BatchwisePrompt(keys)(golden("dual/query")).index, golden("dual/match_batchwise/idx")
    )


def by_layer(pattern: str) -> Tensor:
    """Stack the five layers of a golden array: (5, rows, width)."""
    return torch.stack([golden(pattern.format(layer)).flatten(1) for layer in range(5)])


@pytest.mark.parametrize("name", "pka")
def test_the_first_task_starts_from_the_published_gram_schmidt(name: str) -> None:
    draws = by_layer(f"coda/t0/draw_{name}_{{}}")
    want = by_layer(f"coda/t0/after_init_{name}_{{}}")
    got = orthogonal_rows(draws[:, :0], draws)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=0)


def fill_rows(rows: GrowingRows, values: Tensor) -> None:
    """Set the rows of all tasks up to the current one: ``values`` (blocks, n, width)."""
    start = 0
    for part in list(rows.rows)[: rows.task + 1]:
        put(part, values[:, start : start + part.shape[1]])
        start += part.shape[1]


def coda_parts(task: int) -> tuple[AttentionWeights, ComponentPool]:
    selector = AttentionWeights(5, 12, 32, n_tasks=3)
    pool = ComponentPool(12, range(5), 4, 32, 4, n_tasks=3)
    both = nn.ModuleList([selector, pool])
    for t in range(task + 1):
        start_task(both, t)
    for rows, name in ((pool.values, "p"), (selector.key, "k"), (selector.attention, "a")):
        fill_rows(rows, by_layer(f"coda/t{task}/after_init_{name}_{{}}"))
    return selector, pool


@pytest.mark.parametrize("task", [0, 1, 2])
@pytest.mark.parametrize("layer", [0, 3])
def test_coda_prompts_penalty_and_gradients(task: int, layer: int) -> None:
    selector, pool = coda_parts(task)
    plan = pool.build(selector(golden("coda/query")))
    keys, values = prefix_rows(plan, layer)
    for mode in ("train", "eval"):
        close(keys, f"coda/t{task}/l{layer}/{mode}/k")
        close(values, f"coda/t{task}/l{layer}/{mode}/v")
    ortho = 0.1 * (selector.penalty() + pool.penalty())
    if task == 2 and layer == 3:
        per_layer = [orthogonality_of(selector, pool, block) for block in range(5)]
        torch.testing.assert_close(ortho, 0.1 * torch.stack(per_layer).sum())
    mine = 0.1 * orthogonality_of(selector, pool, layer)
    close(mine, f"coda/t{task}/l{layer}/ortho")
    ramp = 0.01 * torch.arange(values.numel()).view_as(values)
    # All layers' penalties: the other layers' terms do not reach this layer's rows.
    (0.1 * (keys.square().sum() + (values * ramp).sum()) + ortho).backward()
    for rows, name in ((pool.values, "p"), (selector.key, "k"), (selector.attention, "a")):
        assert all(
            part.grad is None for part in list(rows.rows)[:task] + list(rows.rows)[task + 1 :]
        )
        got = torch.cat([gradient(part)[layer] for part in rows.rows])
        close(got, f"coda/t{task}/l{layer}/grad_{name}")


def orthogonality_of(selector: AttentionWeights, pool: ComponentPool, layer: int) -> Tensor:
    """One layer's O(K) + O(A) + O(P), literally."""
    total = torch.zeros(())
    for rows in (selector.key(), selector.attention(), pool.values()):
        x = rows[layer]
        total = total + (x @ x.T - torch.eye(len(x))).square().mean()
    return total


@pytest.mark.parametrize("epochs", [5, 20, 50])
def test_cosine_schedule(epochs: int) -> None:
    close(
        torch.tensor([learning_rate_factor("coda", e, epochs) for e in range(epochs)]),
        f"schedule/cosine_K{epochs}",
        atol=1e-6,
    )
    assert learning_rate_factor("coda", 0, 1) == 1.0


def coda_prefix(values: Tensor) -> Tensor:
    """(size, length, dim), halves keys and values -> our (size, 1, 2, length / 2, dim)."""
    return values.unflatten(1, (2, -1))[:, None]


def layer_parts(where: str, layer: int, k: int = 1) -> tuple[NearestKeys, PrefixPool]:
    values = coda_prefix(golden(f"{where}/e_{layer}"))
    keys = NearestKeys(len(values), 32, k=k)
    pool = PrefixPool(len(values), (layer,), values.shape[3], 32, 4)
    put(keys.key, golden(f"{where}/key_{layer}"))
    put(pool.values, values)
    return keys, pool


def pull(selection: Selection) -> Tensor:
    """Their key loss: sum over batch and chosen rows of 1 - cos."""
    return selection.distance.gather(1, selection.index).sum()


@pytest.mark.parametrize("mode", ["train_task1", "eval"])
def test_coda_repository_dual_prompt(mode: str) -> None:
    keys, pool = layer_parts("coda_dual", 2)
    slots = TaskSlots(keys, all_rows=True).train(mode == "train_task1")
    start_task(slots, 1)
    selection = slots(golden("coda/query"))
    k, v = prefix_rows(pool.build(selection), 2)
    close(k, f"coda_dual/l2/{mode}/k")
    close(v, f"coda_dual/l2/{mode}/v")
    if mode == "train_task1":
        close(pull(selection), "coda_dual/l2/train_task1/loss")
        close(len(selection.index) * (1 - selection.match), "coda_dual/l2/train_task1/loss")
    shared = SharedPrefix((0,), 1, 32, 4)
    put(shared.values, golden("coda_dual/g_0"))
    k, v = prefix_rows(shared.build(None), 0)
    close(k.expand(5, -1, -1), f"coda_dual/l0/{mode}/k")
    close(v.expand(5, -1, -1), f"coda_dual/l0/{mode}/v")


def test_coda_repository_l2p() -> None:
    keys, pool = layer_parts("coda_l2p", 0, k=5)
    selection = keys(golden("coda/query"))
    assert torch.equal(selection.index, golden("coda_l2p/idx"))
    k, v = prefix_rows(pool.build(selection), 0)
    for mode in ("train", "eval"):
        close(k, f"coda_l2p/{mode}/k")
        close(v, f"coda_l2p/{mode}/v")
    close(pull(selection), "coda_l2p/loss_per_sample_sum")
    # theirs pairs every image with every image's choices
    assert golden("coda_l2p/train/loss") > 3 * pull(selection)


def golden_model(strategy: Callable[..., Any], **options: Any) -> PromptedViT:
    backbone = golden_vit(golden.state("vit/backbone/"))
    model: PromptedViT = golden_strategy(strategy, 7, backbone=backbone, **options).model
    put(model.head.weight, golden("vit/head.weight"))
    put(model.head.bias, golden("vit/head.bias"))
    model.observe_classes(torch.arange(7))
    return model


def masked_loss(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits.masked_fill(~CURRENT, float("-inf")), golden("vit/labels"))


def test_l2p_model() -> None:
    model = golden_model(L2P, pool_size=6, prompt_length=3, top_k=2)
    images = golden("vit/images")
    keys = model.selector
    pool = model.pools[0]
    add_position(model)  # the port's, a constant shift of all prompts
    put(pool.values, golden("vit/l2p/pool"))
    put(keys.key, golden("vit/l2p/keys"))
    query = model.encode(images, {}).parts["frozen"]
    close(query, "vit/query_cls")
    out = model.run(images)
    selection = out.selection
    assert torch.equal(selection.index, golden("vit/l2p/prompt_idx"))
    close(selection.match, "vit/l2p/reduce_sim")
    close(out.features, "vit/l2p/pre_logits")
    close(out.logits, "vit/l2p/logits")
    loss = masked_loss(out.logits) - 0.1 * selection.match
    close(loss, "vit/l2p/loss")
    loss.backward()
    close(gradient(pool.values), "vit/l2p/grad_pool")
    close(gradient(keys.key), "vit/l2p/grad_keys")
    close(gradient(model.head.weight), "vit/l2p/grad_head")
    model.head_input = "token"
    close(model(images), "vit/l2p/logits_token_head")


@pytest.mark.parametrize("mode", ["train_task1", "eval"])
def test_dual_prompt_model(mode: str) -> None:
    model = golden_model(DualPrompt, pool_size=4, g_length=2, e_length=3, all_keys=True)
    model.train(mode == "train_task1")
    start_task(model, 1)  # copies a slot, so before the golden values go in
    selector = model.selector
    (shared, pool) = model.pools
    put(selector.inner.key, golden("vit/dual/keys"))
    put(shared.values, golden("vit/dual/g_pool").flatten(3))
    put(pool.values, e_values(golden("vit/dual/e_pool")))
    out = model.run(golden("vit/images"))
    assert torch.equal(out.selection.index, golden(f"vit/dual/{mode}/idx"))
    close(out.selection.match, f"vit/dual/{mode}/reduce_sim")
    close(out.logits, f"vit/dual/correct/{mode}/logits")
    if mode == "train_task1":
        loss = masked_loss(out.logits) - out.selection.match
        close(loss, "vit/dual/correct/train_task1/loss")
        loss.backward()
        close(gradient(shared.values), "vit/dual/correct/train_task1/grad_g")
        got = gradient(pool.values).unflatten(-1, (4, 8)).permute(1, 2, 0, 3, 4, 5)
        close(got, "vit/dual/correct/train_task1/grad_e")
        close(gradient(selector.inner.key), "vit/dual/correct/train_task1/grad_keys")


def test_coda_model() -> None:
    model = golden_model(CODAPrompt, n_tasks=3, n_components=6, prompt_length=4)
    selector = model.selector
    pool = model.pools[0]
    start_task(model, 1)
    parts = ((pool.values, "p"), (selector.key, "k"), (selector.attention, "a"))
    for rows, name in parts:
        fill_rows(rows, by_layer(f"vit/coda/{name}_{{}}"))
    out = model.run(golden("vit/images"))
    close(out.features, "vit/coda/feature")
    close(out.logits, "vit/coda/logits")
    prompt_loss = 0.05 * (selector.penalty() + pool.penalty())
    close(prompt_loss, "vit/coda/prompt_loss")
    loss = masked_loss(out.logits) + prompt_loss
    close(loss, "vit/coda/loss")
    loss.backward()
    close(gradient(model.head.weight), "vit/coda/grad_head")
    for rows, name in parts:
        got = torch.cat([gradient(part) for part in list(rows.rows)[:2]], dim=1)
        torch.testing.assert_close(got, by_layer(f"vit/coda/grad_{name}_{{}}"), atol=1e-5, rtol=0)


@pytest.mark.parametrize("mode", ["train_task1", "eval"])
def test_coda_repository_dual_prompt_model(mode: str) -> None:
    backbone = golden_vit(golden.state("vit/backbone/"))
    query = golden("vit/query_cls")
    plan = PromptPlan()
    loss = torch.zeros(())
    for layer in (0, 1):
        shared = SharedPrefix((layer,), 2, 32, 4)
        put(shared.values, golden(f"vit/coda_dual/g_{layer}"))
        plan.add(shared.build(None))
    for layer in (2, 3, 4):
        keys, pool = layer_parts("vit/coda_dual", layer)
        slots = TaskSlots(keys, all_rows=True).train(mode == "train_task1")
        start_task(slots, 1)
        selection = slots(query)
        plan.add(pool.build(selection))
        loss = loss + pull(selection)
    close(
        backbone.class_features(backbone.embed(golden("vit/images")), plan),
        f"vit/coda_dual/{mode}/feature",
    )
    if mode == "train_task1":
        close(loss, "vit/coda_dual/train_task1/key_loss_sum")

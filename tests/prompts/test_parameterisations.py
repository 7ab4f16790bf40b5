"""DePT and PRE against published numbers, and around every pool."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.prompts.additive import DecomposedTokens
from cl_prompts.prompts.pools import PrependedTokenPool, SharedTokens, TokenPool
from cl_prompts.prompts.prefixes import PrefixPool, SharedPrefix
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.wrapped import Reparameterised
from cl_prompts.strategies.base.prompt_form import encoder_of
from tests.golden_numbers import Golden, gradient, put
from tests.toy_vits import tiny_vit

GOLDEN = Golden("prompt_parameters")
POOLS: dict[str, Callable[[], nn.Module]] = {
    "shared tokens": lambda: SharedTokens((0, 2), 3, 16),
    "token pool": lambda: TokenPool(4, (0, 2), 3, 16),
    "prepended": lambda: PrependedTokenPool(4, 3, 16),
    "shared prefix": lambda: SharedPrefix((0, 2), 3, 16, 2),
    "prefix pool": lambda: PrefixPool(4, (0, 2), 3, 16, 2),
}


def selection(n: int = 3) -> Selection:
    index = torch.tensor([[0, 2], [1, 3], [2, 2]])[:n]
    return Selection(index, torch.zeros(n, 4), torch.ones(4))


def features(plan: PromptPlan) -> Tensor:
    vit = tiny_vit()
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    return vit.class_features(vit.embed(images), plan)


@pytest.mark.parametrize("name", ["mlp1", "lstm1"])
def test_published_encoders(name: str) -> None:
    pool = SharedTokens((0,), 4, 16)
    encoder = encoder_of(name[:-1], 16, 6)
    state = {}
    for key, values in GOLDEN.state(f"pre/{name}/").items():
        if key.startswith("module.") and int(key.split(".")[1]) < 4:
            state[key.removeprefix("module.")] = values
        if key.startswith("lstm_head."):
            state[key.removeprefix("lstm_head.")] = values
    encoder.load_state_dict(state)
    put(pool.values, GOLDEN("pre/prompt"))
    wrapped = Reparameterised(pool, encoder)
    GOLDEN.close(wrapped.values[0], f"pre/{name}/output")
    (wrapped.values[0] * GOLDEN("pre/loss_weight")).sum().backward()
    GOLDEN.close(gradient(pool.values)[0], f"pre/{name}/grad_prompt")
    for parameter, values in encoder.named_parameters():
        published = f"{'lstm_head' if name == 'lstm1' else 'module'}.{parameter}"
        GOLDEN.close(gradient(values), f"pre/{name}/grad/{published}")


def test_published_decomposition() -> None:
    batch, n_tokens, dim = GOLDEN("dept/tokens").shape
    short = PrependedTokenPool(1, len(GOLDEN("dept/start/prompt")), dim)
    pool = DecomposedTokens(n_tokens=n_tokens, dim=dim, rank=len(GOLDEN("dept/B")), alpha=8)
    assert pool.scale == GOLDEN.number("dept/scaling")
    put(pool.a, GOLDEN("dept/start/A"))
    put(short.values, GOLDEN("dept/start/prompt"))
    put(pool.b, GOLDEN("dept/B"))
    nothing = torch.zeros(batch, 1)
    chosen = Selection(nothing.long(), nothing, torch.ones(1))
    plan = pool.build(chosen)
    plan.add(short.build(chosen))
    sequence = torch.cat([plan.prepended, GOLDEN("dept/tokens") + plan.offset], dim=1)
    GOLDEN.close(sequence, "dept/sequence")
    (sequence * GOLDEN("dept/loss_weight")).sum().backward()
    GOLDEN.close(gradient(pool.a), "dept/grad_A")
    GOLDEN.close(gradient(pool.b), "dept/grad_B")
    GOLDEN.close(gradient(short.values), "dept/grad_prompt")


@pytest.mark.parametrize("make", POOLS.values(), ids=POOLS.keys())
def test_baking_changes_nothing_in_evaluation(make: Callable[[], nn.Module]) -> None:
    pool = Reparameterised(make(), encoder_of("lstm", 16, 0))
    before = features(pool.build(selection()))
    assert not torch.allclose(before, features(pool.pool.build(selection())), atol=1e-4)
    pool.bake()
    assert torch.equal(features(pool.build(selection())), before)
    assert torch.equal(features(pool.pool.build(selection())), before)
    for parameter in pool.encoder.parameters():
        nn.init.normal_(parameter)
    assert torch.equal(features(pool.build(selection())), before)
    twin = Reparameterised(make(), encoder_of("lstm", 16, 0))
    twin.load_state_dict(copy.deepcopy(pool.state_dict()))
    assert torch.equal(features(twin.build(selection())), before)


def test_an_update_of_the_positional_embedding() -> None:
    vit = tiny_vit()
    images = torch.rand(2, 3, 16, 16)
    pool = DecomposedTokens(n_tokens=5, dim=16, rank=2)
    nn.init.normal_(pool.b)
    plan = pool.build(None)
    tokens = vit.embed(images)
    got = vit.blocks(tokens, plan, entry=vit.enter(tokens))
    with torch.no_grad():
        vit.vit.pos_embed += pool.update()
    torch.testing.assert_close(got, vit.blocks(vit.embed(images)), atol=1e-5, rtol=1e-5)

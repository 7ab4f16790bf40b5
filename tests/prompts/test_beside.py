"""Rows beside the attention against published numbers, in double precision."""

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cl_prompts.backbones.attention import project, run_block
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.prompts.beside import BesidePrompts
from tests.golden_numbers import PLAIN, Golden, gradient, put
from tests.toy_vits import tiny_vit

GOLDEN = Golden("approximated_prompts", "later")
#: parameters of a pool with one entry by their names in the published ViT
NAMES = {"mm_tokens": "values", "mm.0.weight": "down", "mm.1.weight": "up", "scale": "log_scale"}


def published_vit() -> FrozenViT:
    """The published backbone, reduced to its embedded tokens."""
    blocks = {
        f"blocks.{name}": values
        for name, values in GOLDEN.state("vit/start/").items()
        if ".APT." not in name
    }
    width = len(GOLDEN("vit/norm_weight"))
    depth = 1 + max(int(name.split(".")[1]) for name in blocks)
    plain = VisionTransformer(
        img_size=8,
        patch_size=8,
        embed_dim=width,
        depth=depth,
        num_heads=4,
        mlp_ratio=len(blocks["blocks.0.mlp.fc1.bias"]) / width,
        num_classes=0,
    )
    vit = FrozenViT(plain, normalisation=PLAIN).double()
    norm = {"norm.weight": GOLDEN("vit/norm_weight"), "norm.bias": GOLDEN("vit/norm_bias")}
    assert not vit.vit.load_state_dict(blocks | norm, strict=False).unexpected_keys
    return vit


def by_block(pool: BesidePrompts) -> dict[str, nn.Parameter]:
    return {name: getattr(pool, mine) for name, mine in NAMES.items()}


def test_published_steps() -> None:
    vit = published_vit()
    start = GOLDEN("vit/start/0.attn.APT.mm_tokens")
    rank = len(GOLDEN("vit/start/0.attn.APT.mm.0.weight"))
    pool = BesidePrompts(range(vit.depth), *start.shape, rank=rank).double()
    for name, parameter in by_block(pool).items():
        values = [GOLDEN(f"vit/start/{i}.attn.APT.{name}") for i in range(vit.depth)]
        put(parameter, torch.stack(values))
    weight = nn.Parameter(GOLDEN("vit/head_weight"))
    bias = nn.Parameter(GOLDEN("vit/head_bias"))
    optimizer = torch.optim.AdamW(
        [*pool.parameters(), weight, bias], 5e-3, betas=(0.9, 0.98), weight_decay=0.01
    )
    for step in range(sum(key.endswith("/logits") for key in GOLDEN.keys("vit/step"))):
        tokens = vit.blocks(GOLDEN("vit/tokens"), pool.build(None))
        logits = F.linear(vit.norm(tokens)[:, 0], weight, bias)
        GOLDEN.close_double(logits, f"vit/step{step}/logits")
        loss = F.cross_entropy(logits, GOLDEN("vit/labels"))
        GOLDEN.close_double(loss, f"vit/step{step}/loss")
        optimizer.zero_grad()
        loss.backward()
        for name, parameter in by_block(pool).items():
            for i in range(vit.depth):
                key = f"vit/step{step}/grad/{i}.attn.APT.{name}"
                # W1 has no gradient as long as W2 is 0
                GOLDEN.close_double(gradient(parameter)[0, i], key)
        optimizer.step()
    for name, parameter in by_block(pool).items():
        for i in range(vit.depth):
            GOLDEN.close_double(parameter[0, i], f"vit/after/{i}.attn.APT.{name}")
    GOLDEN.close_double(weight, "vit/after/head_weight")
    GOLDEN.close_double(bias, "vit/after/head_bias")


def test_class_token_alone_and_a_known_projection_come_to_the_same() -> None:
    vit = tiny_vit()
    block = vit.vit.blocks[1]
    beside = BesidePrompts((1,), 3, vit.dim).build(None).beside[1]
    tokens = vit.embed(torch.rand(2, 3, 16, 16))
    whole = run_block(block, tokens, beside=beside)
    normed = block.norm1(tokens)
    middle = tokens + block.ls1(beside(normed, block.attn(normed)))
    want = middle + block.ls2(block.mlp(block.norm2(middle)))
    torch.testing.assert_close(whole, want, atol=1e-5, rtol=1e-5)
    for settings in (
        {"first": 1},
        {"projected": project(block.attn, block.norm1(tokens)), "first": 1},
    ):
        alone = run_block(block, tokens, beside=beside, **settings)
        torch.testing.assert_close(alone, whole[:, :1], atol=1e-5, rtol=1e-5)

"""Read-outs: blocks of one pass side by side, prompted as the pass is, at no further pass."""

from typing import Any

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from cl_prompts.backbones import Features, FrozenViT, PromptPlan
from cl_prompts.errors import InputError
from tests.golden_numbers import PLAIN, Golden
from tests.toy_vits import VIT_VARIANTS, lively_vit

LAYUP = Golden("layup", "later")


def outputs(vit: FrozenViT, tokens: Tensor) -> list[Tensor]:
    found = []
    for block in vit.vit.blocks:
        tokens = block(tokens)
        found.append(tokens)
    return found


@pytest.mark.parametrize("variant", [{}, VIT_VARIANTS["registers"]], ids=["plain", "registers"])
@pytest.mark.parametrize("name", ["blocks:3", "blocks:half+patches", "raw_blocks:4"])
def test_blocks_are_read_side_by_side_in_one_pass(name: str, variant: dict[str, Any]) -> None:
    vit = lively_vit(**variant)
    read = vit.with_features(name)
    tokens = vit.embed(torch.rand(3, 3, 16, 16))
    k = 2 if "half" in name else int(name[name.index(":") + 1])
    patches = slice(vit.vit.num_prefix_tokens, None)
    norm = (lambda x: x) if name.startswith("raw") else vit.norm
    want = []
    for output in outputs(vit, tokens)[-k:]:
        want.append(norm(output)[:, 0])
        want += [norm(output)[:, patches].mean(dim=1)] if "patches" in name else []
    vit.counter.reset()
    got = read.class_features(tokens)
    assert vit.counter.blocks == 3 * vit.depth  # one pass, with the same counter
    torch.testing.assert_close(got, torch.cat(want, dim=1), atol=1e-5, rtol=0)
    assert got.shape[1] == read.feature_dim


@pytest.mark.parametrize("entry_block", [None, 1])
@pytest.mark.parametrize("name", ["blocks:3", "blocks:2+patches"])
def test_prompted_tokens_are_read(name: str, entry_block: int | None) -> None:
    vit = lively_vit()
    read = vit.with_features(name)
    tokens = vit.embed(torch.rand(2, 3, 16, 16))
    k, n = int(name[7]), tokens.shape[1]
    prompts = torch.randn(2, 3, 16)
    if entry_block is None:  # prepended: the mean of their outputs can be read, too
        plan = PromptPlan(prepended=prompts)
        literal = [vit.norm(x) for x in outputs(vit, torch.cat([tokens, prompts], dim=1))[-k:]]
        entry = None
    else:
        plan = PromptPlan(context={entry_block: prompts})
        literal = [vit.norm(vit.blocks(tokens, plan, stop=i)) for i in range(5 - k, 5)]
        entry = vit.enter(tokens, entry_block)
    patches = [x[:, 1:n].mean(dim=1) for x in literal]
    reads = {False: [x[:, 0] for x in literal]}
    if entry is None:
        reads[True] = [x[:, n:].mean(dim=1) for x in literal]
    for of_prompts, own in reads.items():
        pairs = zip(own, patches, strict=True)
        want = [part for pair in pairs for part in pair] if "patches" in name else own
        got = read.class_features(tokens, plan, entry=entry, prepended_only=of_prompts)
        torch.testing.assert_close(got, torch.cat(want, dim=1), atol=1e-5, rtol=0)


def test_one_block_is_the_class_token_itself() -> None:
    vit = lively_vit()
    assert vit.with_features("blocks:1") is vit.with_features("token") is vit
    # The same object, so that cached features stay valid.
    assert vit.with_features("blocks:2") is vit.with_features("blocks:half")
    twin = vit.with_features("blocks:2")
    assert twin.vit is vit.vit
    assert twin.thawed().vit is not vit.vit


def test_published_features() -> None:
    state = LAYUP.state("layers/vit/")
    images, blocks = LAYUP("layers/images"), LAYUP("layers/blocks").tolist()
    dim = state["cls_token"].shape[2]
    vit = VisionTransformer(
        img_size=images.shape[2],
        patch_size=state["patch_embed.proj.weight"].shape[2],
        embed_dim=dim,
        depth=len([name for name in state if name.endswith("fc1.bias")]),
        num_heads=2,
        mlp_ratio=len(state["blocks.0.mlp.fc1.bias"]) / dim,
        num_classes=0,
    )
    vit.load_state_dict(state)
    frozen = FrozenViT(vit, normalisation=PLAIN)
    # As published, blocks stand in the order of their names as text.
    order = torch.tensor(blocks).argsort().argsort()
    got = frozen.with_features(f"raw_blocks:{len(blocks)}")(images).unflatten(1, (len(blocks), -1))
    LAYUP.close(got[:, order].flatten(1), "layers/features")
    LAYUP.close(frozen(images), "layers/final_norm_class_token")


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("blocks:5", "needs 5 blocks, but this ViT has 4"),
        ("blocks:0", "use own, token, avg, pool, blocks:K"),
        ("patches", "use own, token, avg, pool, blocks:K"),
        (3, "features is 3"),
    ],
)
def test_other_names_are_refused(name: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        Features.of(name, 4)

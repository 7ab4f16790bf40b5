"""Files of tensors, and hashes of weights, which are cached until a weight is written."""

import copy
from functools import partial

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from cl_prompts.backbones import weight_files
from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weight_files import backbone_hash, state_hash, weights_hash
from tests.toy_vits import tiny_vit


def test_every_part_of_a_state_counts() -> None:
    state = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor(True), "c": torch.zeros(0)}
    changed = [
        {**state, "a": torch.tensor([1.0, 2.0000002])},
        {**state, "a": state["a"].double()},
        {**state, "a": state["a"].reshape(2, 1)},
        {**state, "a": state["a"].bfloat16()},
        {**state, "d": torch.zeros(0)},
        {"A": state["a"], "b": state["b"], "c": state["c"]},
        {**state, "a": torch.tensor([1.0, float("nan")])},
    ]
    hashes = {state_hash(each) for each in (state, *changed)}
    assert len(hashes) == len(changed) + 1
    assert state_hash(dict(reversed(state.items()))) == state_hash(state)
    strided = torch.tensor([1.0, 0.0, 2.0, 0.0])[::2]
    assert state_hash({**state, "a": strided}) == state_hash(state)


def test_a_backbone_is_hashed_once_until_it_is_written_to(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(state: dict[str, torch.Tensor]) -> str:
        calls.append(state)
        return state_hash(state)

    monkeypatch.setattr(weight_files, "state_hash", counted)
    backbone = tiny_vit()
    first = weights_hash(backbone)
    assert weights_hash(backbone) == first
    assert len(calls) == 1
    assert weights_hash(copy.deepcopy(backbone)) == first
    with torch.no_grad():
        backbone.vit.norm.bias[0] += 1e-6
    second = weights_hash(backbone)
    assert second != first
    assert len(calls) == 3
    other = tiny_vit()
    assert weights_hash(other) == first
    other.std[0, 1] += 0.1
    assert weights_hash(other) != first


def test_equal_weights_that_compute_otherwise_have_another_hash() -> None:
    def built(**parts: object) -> FrozenViT:
        size = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 2, "num_heads": 2}
        torch.manual_seed(0)
        return FrozenViT(VisionTransformer(**size, num_classes=0, **parts))

    plain = built()
    others = [built(act_layer=nn.ReLU), built(norm_layer=partial(nn.LayerNorm, eps=0.1))]
    others.append(built(global_pool="avg", fc_norm=False))
    assert len({backbone_hash(each) for each in (plain, *others)}) == 1 + len(others)
    assert backbone_hash(built()) == backbone_hash(plain)
    # The same on every machine: saved weights name the hash of their backbone.
    for weight in plain.parameters():
        weight.data.fill_(0.5)
    assert backbone_hash(plain).startswith("659a2ed5f431")

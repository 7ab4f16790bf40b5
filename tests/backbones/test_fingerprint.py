"""Hashes tell weights apart, and are kept until a weight is written to."""

from __future__ import annotations

import copy

import pytest
import torch

from cl_prompts.backbones import fingerprint
from cl_prompts.backbones.fingerprint import state_hash, weights_hash
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

    monkeypatch.setattr(fingerprint, "state_hash", counted)
    backbone = tiny_vit()
    first = weights_hash(backbone)
    assert weights_hash(backbone) == first
    assert len(calls) == 1
    assert weights_hash(copy.deepcopy(backbone)) == first
    with torch.no_grad():
        backbone.vit.norm.bias[0] += 1e-6
    second = weights_hash(backbone)
    assert second != first
    backbone.vit.norm.weight.data *= 2
    assert weights_hash(backbone) not in (first, second)
    assert len(calls) == 4
    other = tiny_vit()
    assert weights_hash(other) == first
    other.std[0, 1] += 0.1
    assert weights_hash(other) != first

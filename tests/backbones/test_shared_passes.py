"""Passes that runs share: the same numbers and counts, of nothing but the same pass."""

from __future__ import annotations

import copy
import os
import signal
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.backbones import shared_passes
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.shared_passes import SharedPasses
from cl_prompts.backbones.vit import FrozenViT
from tests.forked import forked
from tests.toy_vits import lively_vit

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def passes_of(vit: FrozenViT, shared: SharedPasses, images: Tensor = IMAGES, **asked: Any) -> int:
    """Images whose pass was taken over, as a ViT made one."""
    with torch.no_grad(), shared.serving(vit):
        vit.class_tokens(vit.embed(images), **asked)
    return shared.taken_over


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_taken_over_has_the_bits_and_the_counts_of_a_pass(precision: Any) -> None:
    vit = FrozenViT(lively_vit().vit, precision=precision)
    alone = vit(IMAGES)
    once = vit.counter.counts()
    shared = SharedPasses()
    for n_before in (0, 3):
        vit.counter.reset()
        with shared.serving(vit):
            assert torch.equal(vit(IMAGES), alone)
        assert shared.taken_over == n_before
        assert vit.counter.counts() == once
    assert vit.shared_passes is None


def test_only_the_same_pass_is_taken_over() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    assert passes_of(vit, shared) == 0
    assert passes_of(vit, shared) == 3
    assert passes_of(lively_vit(), shared) == 3  # weights of the same numbers
    with torch.no_grad():
        entry = vit.enter(vit.embed(IMAGES))
    other: list[dict[str, Any]] = [
        {"images": IMAGES + 1e-7},
        {"images": IMAGES[:2]},
        {"stop": vit.depth - 1},
        {"entry": entry},
        {"read": vit.reading("blocks:2").read_out},
        {"plan": PromptPlan(prepended=torch.zeros(3, 1, vit.dim))},
    ]
    for asked in other:
        assert passes_of(vit, shared, **asked) == 0, asked
    vit.vit.blocks[0].mlp.fc1.bias.add_(1e-3)
    assert passes_of(vit, shared) == 0


def test_passes_through_weights_or_tokens_that_learn_are_not_shared() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    assert passes_of(vit, shared) == 0
    assert passes_of(vit.thawed(), shared) == 0
    tokens = vit.embed(IMAGES).requires_grad_()
    with shared.serving(vit):
        assert vit.class_tokens(tokens).requires_grad
        assert copy.deepcopy(vit).thawed()(IMAGES).requires_grad
    assert shared.taken_over == 0


def test_ranks_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedPasses()
    vit = lively_vit()
    monkeypatch.setattr(shared_passes.ranks, "is_distributed", lambda: True)
    with shared.serving(vit):
        assert vit.shared_passes is None


def test_a_full_store_keeps_what_it_has() -> None:
    shared = SharedPasses(400)  # one result of 3 x 16 numbers
    vit = lively_vit()
    other = IMAGES.flip(0)
    found = [passes_of(vit, shared, images) for images in (IMAGES, other, other, IMAGES)]
    assert found == [0, 0, 0, 3]


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no process is forked here")
def test_a_forked_process_gives_and_takes() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    other = IMAGES.flip(0)
    assert passes_of(vit, shared) == 0
    assert forked(lambda: passes_of(vit, shared)).code == 3
    assert forked(lambda: passes_of(vit, shared, other)).code == 0
    assert passes_of(vit, shared, other) == 3


@pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="no process is forked here")
def test_a_process_that_is_killed_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    shared = SharedPasses()
    vit = lively_vit()

    def die(values: Tensor) -> memoryview:
        if values.shape[1] == 1:  # as its result is being written
            os.kill(os.getpid(), signal.SIGKILL)
        return known(values)

    known = shared_passes._bytes_of
    monkeypatch.setattr(shared_passes, "_bytes_of", die)
    assert forked(lambda: passes_of(vit, shared)).code == -signal.SIGKILL
    monkeypatch.undo()
    assert [passes_of(vit, shared) for _ in range(2)] == [0, 3]

"""Passes that runs share: the same numbers and counts, of nothing but the same pass."""

from __future__ import annotations

import copy
import mmap
import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cl_prompts.backbones import shared_passes
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.backbones.shared_passes import PassesOfRun, SharedPasses
from cl_prompts.backbones.vit import FrozenViT
from tests.forked import forked
from tests.toy_vits import lively_vit

IMAGES = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no process is forked here")


def taken_over(
    vit: FrozenViT, shared: SharedPasses, tokens: Tensor | None = None, **asked: Any
) -> int:
    """Images whose pass was taken over, as a further run made it."""
    run = PassesOfRun(shared)
    with torch.no_grad(), run.serving(vit):
        vit.class_tokens(vit.embed(IMAGES) if tokens is None else tokens, **asked)
    return run.taken_over


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_taken_over_has_the_bits_and_the_counts_of_a_pass(precision: Any) -> None:
    vit = FrozenViT(lively_vit().vit, precision=precision)
    alone = vit(IMAGES)
    once = vit.counter.counts()
    shared = SharedPasses()
    for n_before in (0, 3):
        run = PassesOfRun(shared)
        vit.counter.reset()
        with run.serving(vit):
            assert torch.equal(vit(IMAGES), alone)
        assert run.taken_over == n_before
        assert vit.counter.counts() == once
    assert vit.passes is None


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_only_the_same_pass_is_taken_over(threads: None) -> None:
    shared = SharedPasses()
    vit = lively_vit()
    assert taken_over(vit, shared) == 0
    assert taken_over(vit, shared) == 3
    assert taken_over(lively_vit(), shared) == 3  # weights of the same numbers
    with torch.no_grad():
        tokens = vit.embed(IMAGES)
    other: list[dict[str, Any]] = [
        {"tokens": tokens + 1e-6},
        {"tokens": tokens[:2]},
        {"stop": vit.depth - 1},
        {"stop": 0},
        {"entry": vit.enter(tokens)},
        {"read": vit.reading("blocks:2").read_out},
        {"plan": PromptPlan(prepended=torch.zeros(3, 1, vit.dim))},
    ]
    for asked in other:
        assert taken_over(vit, shared, **asked) == 0, asked
    # The same bytes, as two images and as one.
    assert taken_over(vit, shared, torch.zeros(2, 5, vit.dim)) == 0
    assert taken_over(vit, shared, torch.zeros(1, 10, vit.dim)) == 0
    torch.set_num_threads(3 - min(torch.get_num_threads(), 2))
    assert taken_over(vit, shared) == 0
    vit.vit.blocks[0].mlp.fc1.bias.add_(1e-3)
    assert taken_over(vit, shared) == 0


def test_a_run_makes_again_what_it_has_made_itself() -> None:
    vit = lively_vit()
    run = PassesOfRun(SharedPasses())
    with run.serving(vit):
        assert torch.equal(vit(IMAGES), vit(IMAGES))
    assert run.taken_over == 0


def test_passes_through_weights_or_tokens_that_learn_are_not_shared() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    assert taken_over(vit, shared) == 0
    assert taken_over(vit.thawed(), shared) == 0
    run = PassesOfRun(shared)
    tokens = vit.embed(IMAGES).requires_grad_()
    with run.serving(vit):
        assert vit.class_tokens(tokens).requires_grad
        assert copy.deepcopy(vit).thawed()(IMAGES).requires_grad
    assert run.taken_over == 0


@pytest.mark.parametrize("where", ["ranks", "meta"])
def test_neither_ranks_nor_other_devices_share(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vit = lively_vit().to("meta" if where == "meta" else "cpu")
    monkeypatch.setattr(shared_passes.ranks, "is_distributed", lambda: where == "ranks")
    with PassesOfRun(SharedPasses()).serving(vit):
        assert vit.passes is None


def test_a_full_store_keeps_what_it_has() -> None:
    shared = SharedPasses(400)  # one result of 3 x 16 numbers
    vit = lively_vit()
    other = vit.embed(IMAGES.flip(0))
    found = [taken_over(vit, shared, tokens) for tokens in (None, other, other, None)]
    assert found == [0, 0, 0, 3]


def test_without_memory_nothing_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: Any) -> None:
        raise OSError(12, "Cannot allocate memory")

    assert shared_passes.shared_passes() is not None
    monkeypatch.setattr(mmap, "mmap", full)
    assert shared_passes.shared_passes() is None


@forks
def test_a_forked_process_gives_and_takes() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    other = vit.embed(IMAGES.flip(0))
    assert taken_over(vit, shared) == 0
    assert forked(lambda: taken_over(vit, shared)).code == 3
    assert forked(lambda: taken_over(vit, shared, other)).code == 0
    assert taken_over(vit, shared, other) == 3


@forks
def test_nobody_waits_for_a_process_that_reads_or_writes() -> None:
    shared = SharedPasses()
    vit = lively_vit()
    with shared._alone() as alone:
        assert alone
        # It makes the pass itself, and keeps nothing; one that waits is killed by the alarm.
        assert forked(lambda: signal.alarm(20) or taken_over(vit, shared)).code == 0
    assert [taken_over(vit, shared) for _ in range(2)] == [0, 3]


@forks
def test_a_process_that_is_killed_leaves_no_lock_and_no_half_a_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = SharedPasses()
    vit = lively_vit()
    known = shared_passes._bytes_of

    def die(values: Tensor) -> memoryview:
        if values.shape[1] == 1:  # as its result is being written
            os.kill(os.getpid(), signal.SIGKILL)
        return known(values)

    monkeypatch.setattr(shared_passes, "_bytes_of", die)
    assert forked(lambda: taken_over(vit, shared)).code == -signal.SIGKILL
    monkeypatch.undo()
    assert [taken_over(vit, shared) for _ in range(2)] == [0, 3]

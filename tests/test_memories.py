"""Reservoir memory: the published contents, and the property that makes it a reservoir."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.memories import ReservoirMemory

CASES = json.loads((Path(__file__).parent / "golden" / "si_blurry_memory.json").read_text())["cases"]
RESERVOIR = [c for c in CASES if c["policy"] == "er_reservoir"]


def offer(memory: ReservoirMemory, rows: range) -> None:
    memory.add(torch.tensor(list(rows))[:, None])


def held(memory: ReservoirMemory) -> list[int]:
    return memory.slots[: len(memory), 0].tolist()


@pytest.mark.parametrize("case", RESERVOIR, ids=lambda c: f"size{c['memory_size']}-seed{c['torch_seed']}")
def test_published_contents(case: dict) -> None:
    memory = ReservoirMemory(case["memory_size"], boundary="published", seed=case["torch_seed"])
    batch = case["batch_size"]
    for i, state in enumerate(case["states"]):
        offer(memory, range(i * batch, (i + 1) * batch))
        assert held(memory) == state["memory_indices"]


def test_the_published_boundary_overwrites_the_last_slot() -> None:
    published, sequential = (ReservoirMemory(6, boundary=b, seed=1) for b in ("published", "sequential"))
    for memory in (published, sequential):
        offer(memory, range(4))
        offer(memory, range(4, 8))
    assert held(published) == [0, 1, 2, 3, 4, 7]
    assert held(sequential) != held(published)


@given(st.integers(0, 12), st.lists(st.integers(0, 9), max_size=8), st.integers(0, 1000))
@settings(deadline=None)
def test_holds_distinct_offered_samples_and_is_full_when_it_can_be(size: int, batches: list[int], seed: int) -> None:
    memory, offered = ReservoirMemory(size, seed=seed), 0
    for n in batches:
        offer(memory, range(offered, offered + n))
        offered += n
    contents = held(memory)
    assert len(contents) == min(size, offered)
    assert len(set(contents)) == len(contents)
    assert all(0 <= c < offered for c in contents)
    drawn = memory.draw(4)[:, 0].tolist()
    assert len(drawn) == min(4, len(contents))
    assert len(set(drawn)) == len(drawn)
    assert set(drawn) <= set(contents)


def test_every_sample_is_held_with_the_same_probability() -> None:
    counts = torch.zeros(40)
    for seed in range(600):
        memory = ReservoirMemory(10, seed=seed)
        offer(memory, range(40))
        counts[held(memory)] += 1
    share = counts / 600
    assert share.sum() == pytest.approx(10)
    assert (share - 0.25).abs().max() < 0.09  # five standard deviations


def test_state_round_trip_continues_identically() -> None:
    memory, twin = ReservoirMemory(5, seed=3), ReservoirMemory(5, seed=9)
    offer(memory, range(17))
    twin.load_state_dict(memory.state_dict())
    for m in (memory, twin):
        offer(m, range(17, 60))
    assert held(memory) == held(twin)
    assert torch.equal(memory.draw(3), twin.draw(3))


def test_bad_settings_are_refused() -> None:
    with pytest.raises(InputError, match="memory size is -1"):
        ReservoirMemory(-1)
    with pytest.raises(InputError, match="sequential"):
        ReservoirMemory(1, boundary="batch")

"""Memories: the published contents, and the properties that make a reservoir and a class-balanced
memory."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.training.buffers import (
    PERMUTED,
    ClassBalancedBuffer,
    ReplayBuffer,
    ReservoirBuffer,
    diverse_selection,
    view_uncertainty,
)
from tests import GOLDEN_FILES

CASES = json.loads((GOLDEN_FILES / "si_blurry_memory.json").read_text())["cases"]
RESERVOIR = [c for c in CASES if c["policy"] == "er_reservoir"]
BALANCED = {"rm_class_balanced_random": "random", "clib_class_balanced_first_slot": "importance"}
STREAM = st.lists(st.integers(0, 6), max_size=40)


def class_counts(memory: ClassBalancedBuffer) -> dict[int, int]:
    labels, counts = memory.labels[: len(memory)].unique(return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


def offer(memory: ReservoirBuffer, rows: range) -> None:
    memory.add(torch.tensor(list(rows))[:, None])


def held(memory: ReplayBuffer) -> list[int]:
    return memory.slots[: len(memory), 0].tolist()


@pytest.mark.parametrize(
    "case", RESERVOIR, ids=lambda c: f"size{c['memory_size']}-seed{c['torch_seed']}"
)
def test_published_contents(case: dict) -> None:
    memory = ReservoirBuffer(case["memory_size"], seed=case["torch_seed"])
    batch = case["batch_size"]
    for i, state in enumerate(case["states"]):
        rows = range(i * batch, (i + 1) * batch)
        free = memory.size - len(memory)
        if 0 < free < batch:  # in this batch all overflowing samples overwrite the last slot
            offer(memory, rows[:free])
            memory.slots[-1] = rows[-1]
            memory.offered += batch - free
        else:
            offer(memory, rows)
        assert held(memory) == state["memory_indices"]


@given(st.integers(0, 12), st.lists(st.integers(0, 9), max_size=8), st.integers(0, 1000))
def test_holds_distinct_offered_samples_and_is_full_when_it_can_be(
    size: int, batches: list[int], seed: int
) -> None:
    memory = ReservoirBuffer(size, seed=seed)
    offered = 0
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


def test_a_draw_from_a_large_buffer_is_uniform_and_distinct() -> None:
    n = PERMUTED + 404
    drawn = 450
    buffer = ReservoirBuffer(n, seed=1)
    offer(buffer, range(n))
    counts = torch.zeros(n)
    for _ in range(200):
        slots = buffer.draw_slots(drawn)
        assert len(set(slots.tolist())) == drawn
        counts[slots] += 1
    # Ten parts of the buffer: binomial counts, five standard deviations.
    parts = counts.reshape(10, -1).sum(dim=1)
    assert (parts - 9000).abs().max() < 5 * (9000 * 0.9) ** 0.5
    assert counts.max() < 60
    assert len(buffer.draw_slots(n)) == n


def test_a_draw_from_a_large_buffer_reaches_the_last_slot_of_each_range() -> None:
    buffer = ReservoirBuffer(PERMUTED + 404, seed=1)
    buffer.filled = buffer.size
    share = torch.rand(450, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ranges = torch.arange(buffer.size - 450, buffer.size) + 1
    assert buffer.draw_slots(450)[:40].tolist() == (share * ranges).floor()[:40].tolist()


def test_reservoir_says_which_slot_holds_each_sample() -> None:
    memory = ReservoirBuffer(4, seed=2)
    value = torch.full((4,), -1)
    for start in range(0, 60, 12):
        rows = torch.arange(start, start + 12)
        slots = memory.add(rows[:, None])
        assert len(slots) == 12
        kept = slots >= 0
        assert len(set(slots[kept].tolist())) == int(kept.sum())
        value[slots[kept]] = rows[kept]
        assert torch.equal(value, memory.slots[:, 0])
    assert ReservoirBuffer(0).add(torch.arange(3)[:, None]).tolist() == [-1, -1, -1]


def balance(memory: ClassBalancedBuffer, labels: list[int], first: int = 0) -> torch.Tensor:
    return memory.add(
        torch.arange(first, first + len(labels))[:, None], torch.tensor(labels, dtype=torch.int64)
    )


@pytest.mark.parametrize(
    "case",
    [c for c in CASES if c["policy"] in BALANCED],
    ids=lambda c: f"{BALANCED[c['policy']]}-size{c['memory_size']}-seed{c['torch_seed']}",
)
def test_published_class_balanced_contents(case: dict) -> None:
    """Ties go to the class that came first there and to the lowest label here: labels become
    positions of appearance."""
    memory = ClassBalancedBuffer(
        case["memory_size"], policy=BALANCED[case["policy"]], seed=case["torch_seed"]
    )
    position = {label: k for k, label in enumerate(dict.fromkeys(case["labels"]))}
    batch = case["batch_size"]
    for i, state in enumerate(case["states"]):
        balance(
            memory, [position[c] for c in case["labels"][i * batch : (i + 1) * batch]], i * batch
        )
        assert held(memory) == state["memory_indices"]
        assert memory.labels[: len(memory)].tolist() == [
            position[c] for c in state["memory_labels"]
        ]
        counts = class_counts(memory)
        assert [counts.get(position[c], 0) for c in state["cls_list"]] == state["cls_count"]


@given(st.integers(0, 9), STREAM, st.sampled_from(["random", "importance"]), st.integers(0, 1000))
def test_classes_stay_balanced(size: int, labels: list[int], policy: str, seed: int) -> None:
    memory = ClassBalancedBuffer(size, policy=policy, seed=seed)
    for i, label in enumerate(labels):
        before = class_counts(memory)
        full = len(memory) == size
        slot = int(balance(memory, [label], i))
        after = class_counts(memory)
        assert len(memory) == min(size, i + 1) == sum(after.values())
        if size == 0:
            assert slot == -1
            continue
        assert memory.slots[slot, 0] == i
        assert memory.labels[slot] == label
        if full:
            entered = {c: n + (c == label) for c, n in before.items()}
            top = [c for c, n in entered.items() if n == max(entered.values())]
            # the fullest class that holds a slot, lowest label
            assert after.get(min(top), 0) == entered[min(top)] - 1
    contents = held(memory)
    assert len(set(contents)) == len(contents)
    assert [labels[c] for c in contents] == memory.labels[: len(memory)].tolist()
    counts = class_counts(memory)
    for c in set(labels) if size else ():
        if counts.get(c, 0) < labels.count(c):
            assert counts.get(c, 0) >= max(counts.values()) - 1


@given(st.integers(1, 9), STREAM, st.integers(1, 7))
def test_class_balanced_memory_does_not_depend_on_batches(
    size: int, labels: list[int], batch: int
) -> None:
    whole, cut = (ClassBalancedBuffer(size, seed=5) for _ in range(2))
    slots = balance(whole, labels)
    for i in range(0, len(labels), batch):
        balance(cut, labels[i : i + batch], i)
    assert held(whole) == held(cut)
    expected = [held(whole).index(i) if i in held(whole) else -1 for i in range(len(labels))]
    assert slots.tolist() == expected


def test_the_least_important_sample_goes() -> None:
    memory = ClassBalancedBuffer(4, policy="importance", ema=0.5)
    balance(memory, [0, 0, 0, 1])
    memory.mark_trained(torch.tensor([0]))
    assert memory.observe_losses(torch.full((4,), 3.0)) == 0  # nothing to compare with yet
    assert memory.importance.tolist() == [0, 0, 0, 0]
    memory.mark_trained(torch.tensor([0]))
    assert memory.observe_losses(torch.tensor([1.0, 2.0, 3.0, 2.0])) == pytest.approx(1.0)
    memory.mark_trained(torch.tensor([1, 3]))
    assert memory.observe_losses(torch.tensor([2.0, 3.0, 3.0, 4.0])) == pytest.approx(-1.0)
    assert memory.importance.tolist() == [0.5, -0.5, 0, -0.5]
    balance(memory, [1], 4)
    assert held(memory) == [0, 4, 2, 3]
    assert memory.importance.tolist() == [0.5, -0.5, 0, -0.5]  # of its class: slot 3
    assert not memory.trained.any()
    memory.mark_trained(torch.tensor([1]))
    losses = torch.tensor([1.0, 9.0, 2.0, 3.0])  # slot 1 is new
    assert memory.observe_losses(losses) == pytest.approx(1.0)
    assert memory.importance.tolist() == [0.5, 0.25, 0, -0.5]


def test_a_sample_inherits_its_class_s_mean_importance() -> None:
    memory = ClassBalancedBuffer(4, policy="importance")
    balance(memory, [0, 0, 0])
    memory.importance[:3] = torch.tensor([1.0, 2.0, 6.0])
    balance(memory, [0, 1], 3)
    # class 1 is new and took the slot of least importance
    assert memory.importance.tolist() == [0, 2, 6, 3]
    assert held(memory) == [4, 1, 2, 3]


def test_contents_can_be_replaced() -> None:
    memory = ClassBalancedBuffer(5)
    balance(memory, [0, 1, 2, 3, 4, 5])
    memory.replace(torch.tensor([[70], [80]]), torch.tensor([7, 8]))
    assert held(memory) == [70, 80]
    assert class_counts(memory) == {7: 1, 8: 1}


def test_uncertainty_counts_disagreeing_views() -> None:
    predictions = torch.tensor([[0, 1, 2], [0, 1, 0], [0, 2, 1], [0, 1, 1]])  # (views, samples)
    scores = torch.nn.functional.one_hot(predictions, 3).float()
    assert view_uncertainty(scores).tolist() == pytest.approx([0, 0.25, 0.5])
    scores[1, 1, 0] = -torch.inf  # an unseen class is never voted for: still class 1
    assert view_uncertainty(scores).tolist() == pytest.approx([0, 0.25, 0.5])


def test_samples_are_evenly_spaced_from_certain_to_uncertain() -> None:
    uncertainty = torch.tensor([0.9, 0.1, 0.5, 0.3, 0.7, 0.2, 0.8])
    labels = torch.tensor([0, 0, 0, 0, 0, 0, 1])
    # ranks 0, 2, 4 of class 0
    assert diverse_selection(uncertainty, labels, 4).tolist() == [1, 3, 4, 6]
    assert diverse_selection(uncertainty, labels, 99).tolist() == list(range(7))


@given(st.lists(st.integers(0, 4), max_size=30), st.integers(0, 35))
def test_classes_share_the_memory(labels: list[int], size: int) -> None:
    generator = torch.Generator().manual_seed(len(labels))
    target = torch.tensor(labels, dtype=torch.int64)
    chosen = diverse_selection(torch.rand(len(labels), generator=generator), target, size).tolist()
    assert len(set(chosen)) == len(chosen) == min(size, len(labels))
    counts = [sum(labels[i] == c for i in chosen) for c in set(labels)]
    for c, n in zip(set(labels), counts, strict=True):
        assert n == labels.count(c) or n >= max(counts) - 1

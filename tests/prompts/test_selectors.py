"""Selectors: who gets which prompt, in training and in evaluation, with and without announced
tasks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.prompts.components import AttentionWeights
from cl_prompts.prompts.init import drawn
from cl_prompts.prompts.selectors import NearestKeys, Selection, count_choices
from cl_prompts.prompts.task_aware import TaskAware, start_task
from cl_prompts.prompts.task_selectors import (
    BatchwisePrompt,
    FrequencyPenalty,
    TaskSlots,
    copy_slot,
    slot_rows,
)


def nearest(query: Tensor, key: Tensor, k: int) -> Tensor:
    """Literal top-k by cosine, for scores without ties."""
    return F.cosine_similarity(query[:, None], key[None], dim=-1).topk(k).indices


@pytest.fixture
def keys() -> NearestKeys:
    torch.manual_seed(0)
    return NearestKeys(8, 16, k=2)


@pytest.fixture
def query() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(10, 16)


def test_match_is_the_sum_over_chosen_rows_averaged_over_the_batch(
    keys: NearestKeys, query: Tensor
) -> None:
    selection = keys(query)
    assert torch.equal(selection.index, nearest(query, keys.key, 2))
    literal = sum(
        F.cosine_similarity(q, keys.key[j], dim=0)
        for q, row in zip(query, selection.index, strict=True)
        for j in row
    )
    torch.testing.assert_close(selection.match, literal / 10)
    (-selection.match).backward()  # lowering the loss raises the similarity
    assert keys.key.grad is not None
    with torch.no_grad():
        keys.key -= 0.1 * keys.key.grad
    assert keys(query).match > selection.match
    untouched = sorted(set(range(8)) - set(selection.index.flatten().tolist()))
    assert (keys.key.grad[untouched] == 0).all()


@pytest.mark.parametrize(
    ("name", "low", "high", "mean"),
    [("normal", -9, 9, 0.0), ("uniform", -1, 1, 0.0), ("small", 0, 0.01, 0.005)],
)
def test_initial_distributions(name: str, low: float, high: float, mean: float) -> None:
    values = drawn((200, 50), name)
    assert values.min() >= low
    assert values.max() <= high
    assert values.mean().item() == pytest.approx(mean, abs=0.05 * high)
    assert values.std().item() == pytest.approx(
        {"normal": 1, "uniform": 3**-0.5, "small": 0.01 / 12**0.5}[name], 0.05
    )


def test_bad_input_is_refused() -> None:
    with pytest.raises(
        InputError, match="unknown initial distribution 'unifrom': did you mean 'uniform'"
    ):
        NearestKeys(4, 8, initial="unifrom")
    with pytest.raises(
        InputError, match="k is 5: it must be between 1 and the pool's size, which is 4"
    ):
        NearestKeys(4, 8, k=5)


# -------------------------------------------------------------------------------------------- slots


@given(st.integers(-1, 30), st.integers(1, 5), st.integers(1, 40))
def test_slots_are_disjoint_and_inside_the_pool(task: int, k: int, size: int) -> None:
    slot = slot_rows(task, k, size)
    assert (slot is None) == (task < 0 or task * k + k > size)
    if slot is not None:
        assert list(range(size))[slot] == list(range(task * k, task * k + k))


@settings(max_examples=30)
@given(st.integers(0, 6), st.integers(1, 3), st.integers(1, 12))
def test_copying_touches_the_slot_alone(task: int, k: int, size: int) -> None:
    values = torch.arange(float(size))
    copy_slot(values, task, k)
    want = [float(i) for i in range(size)]
    if task > 0 and (task + 1) * k <= size:
        want[task * k : (task + 1) * k] = want[(task - 1) * k : task * k]
    assert values.tolist() == want


def test_training_uses_the_slot_and_evaluation_never_asks_for_the_task(
    keys: NearestKeys, query: Tensor
) -> None:
    slots = TaskSlots(keys, all_rows=True)
    assert torch.equal(slots(query).index, nearest(query, keys.key, 2))  # nothing announced
    start_task(slots, 2)
    selection = slots(query)
    assert selection.index.tolist() == [[4, 5]] * 10
    selection.match.backward()
    assert keys.key.grad is not None
    assert keys.key.grad.abs().sum(1).nonzero().flatten().tolist() == [
        4,
        5,
    ]  # only the task's keys move
    assert torch.equal(slots.eval()(query).index, nearest(query, keys.key, 2))


def test_slots_beyond_the_pool_fall_back_to_the_nearest_keys(
    keys: NearestKeys, query: Tensor
) -> None:
    slots = TaskSlots(keys)
    start_task(slots, 4)  # rows 8 and 9 of 8
    for mode in (True, False):
        assert torch.equal(slots.train(mode)(query).index, nearest(query, keys.key, 2))


def test_keys_of_tasks_to_come_do_not_compete(keys: NearestKeys, query: Tensor) -> None:
    slots = TaskSlots(keys).eval()
    start_task(slots, 1)
    assert torch.equal(slots(query).index, nearest(query, keys.key[:4], 2))
    start_task(slots, 3)
    assert torch.equal(slots(query).index, nearest(query, keys.key, 2))


def test_keys_are_copied_on_request_and_once(keys: NearestKeys) -> None:
    slots = TaskSlots(keys, copy_keys=True)
    start_task(slots, 0)
    start_task(slots, 1)
    assert torch.equal(keys.key[2:4], keys.key[0:2])
    with torch.no_grad():
        keys.key[2:4] += 1
    trained = keys.key.detach().clone()
    start_task(slots, 1)  # a resumed run announces its task again
    assert torch.equal(keys.key, trained)


def test_tasks_start_in_order() -> None:
    slots = TaskSlots(NearestKeys(4, 8))
    start_task(slots, 2)
    with pytest.raises(InputError, match="task 1 is announced after task 2: tasks start in order"):
        start_task(slots, 1)


def test_the_task_travels_in_the_state(keys: NearestKeys, query: Tensor) -> None:
    slots = TaskSlots(keys)
    start_task(slots, 3)
    other = TaskSlots(NearestKeys(8, 16, k=2))
    other.load_state_dict(slots.state_dict())
    assert other.task == 3
    assert torch.equal(other(query).index, slots(query).index)
    assert all(isinstance(value, Tensor) for value in slots.state_dict().values())


# -----------------------------------------------------------------------------------------------
# majority and frequency


@settings(max_examples=40)
@given(
    st.lists(
        st.lists(st.integers(0, 6), min_size=2, max_size=2, unique=True), min_size=1, max_size=9
    )
)
def test_majority_counts_choices_and_breaks_ties_downwards(choices: list[list[int]]) -> None:
    class Fixed(NearestKeys):
        def forward(self, query: Tensor, **_: object) -> Selection:
            return replace(super().forward(query), index=torch.tensor(choices))

    index = BatchwisePrompt(Fixed(7, 4, k=2), 7)(torch.randn(len(choices), 4)).index
    flat = [i for row in choices for i in row]
    want = sorted(range(7), key=lambda i: (-flat.count(i), i))[:2]
    assert index.tolist() == [want] * len(choices)
    assert count_choices(torch.tensor(choices), 7).tolist() == [flat.count(i) for i in range(7)]


def test_majority_acts_in_training_only_unless_asked(keys: NearestKeys, query: Tensor) -> None:
    vote = BatchwisePrompt(keys, 8)
    assert (vote(query).index == vote(query).index[0]).all()
    assert torch.equal(vote.eval()(query).index, keys(query).index)
    leaking = BatchwisePrompt(keys, 8, in_evaluation=True).eval()
    alone = torch.cat([leaking(q[None]).index for q in query])
    assert torch.equal(alone.sort(1).values, keys(query).index.sort(1).values)
    assert not torch.equal(
        leaking(query).index.sort(1).values, alone.sort(1).values
    )  # batch mates decide


def test_frequency_penalty_turns_new_tasks_to_rare_rows(query: Tensor) -> None:
    torch.manual_seed(0)
    keys = NearestKeys(5, 16)
    penalty = FrequencyPenalty(keys)
    assert torch.equal(penalty(query).index, keys(query).index)  # alike before a second task
    keys.count[:] = torch.tensor([8.0, 1, 1, 1, 9])
    assert torch.equal(penalty(query).index, keys(query).index)
    start_task(penalty, 1)
    torch.testing.assert_close(penalty.frequency, torch.tensor([0.4, 0.05, 0.05, 0.05, 0.45]))
    chosen = penalty(query)
    literal = (
        (1 - F.cosine_similarity(query[:, None], keys.key[None], dim=-1)) * penalty.frequency
    ).argmin(1)
    assert torch.equal(chosen.index[:, 0], literal)
    assert set(chosen.index.flatten().tolist()) <= {1, 2, 3}
    penalty.observe(chosen)
    assert keys.count.sum() == 30
    torch.testing.assert_close(penalty.frequency.sum(), torch.tensor(1.0))  # fixed within the task
    assert torch.equal(penalty.eval()(query).index, keys(query).index)


# ---------------------------------------------------------------------------------------- attention


def literal_weights(selector: AttentionWeights, query: Tensor) -> Tensor:
    """The formula as written: every query times every attention vector, normalised, times every
    normalised key."""
    key, attention = selector.key(), selector.attention()
    product = torch.einsum("bd,lmd->lbmd", query, attention)
    return torch.einsum("lbmd,lmd->lbm", F.normalize(product, dim=-1), F.normalize(key, dim=-1))


@pytest.mark.parametrize("n_tasks", [None, 3])
def test_two_matrix_products_equal_the_literal_attention(n_tasks: int | None) -> None:
    torch.manual_seed(0)
    selector, query = AttentionWeights(4, 12, 16, n_tasks=n_tasks), 5 * torch.randn(7, 16)
    start_task(selector, 1) if n_tasks else None
    fast, slow = selector(query), literal_weights(selector, query)
    n = 12 if n_tasks is None else 8
    assert fast.weights is not None
    assert fast.weights.shape == (4, 7, n)
    torch.testing.assert_close(fast.weights, slow, atol=1e-6, rtol=0)
    torch.testing.assert_close(1 - fast.distance, slow.mean(0), atol=1e-6, rtol=0)
    assert fast.index.tolist() == [list(range(n))] * 7
    mine = [p for p in selector.parameters() if p.requires_grad and p.abs().sum() > 0]
    ramp = torch.arange(slow.numel()).view_as(slow)
    for a, b in zip(
        torch.autograd.grad((fast.weights * ramp).sum(), mine),
        torch.autograd.grad((slow * ramp).sum(), mine),
        strict=True,
    ):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_every_task_aware_part_is_found() -> None:
    model = nn.Sequential(TaskSlots(NearestKeys(4, 8)), AttentionWeights(2, 4, 8, n_tasks=2))
    start_task(model, 1)
    assert [m.task for m in model.modules() if isinstance(m, TaskAware)] == [1, 1, 1]

"""Slots for tasks, votes of a batch, penalties on habit: in training and in evaluation."""

from dataclasses import replace

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from cl_prompts.prompts.components import AttentionWeights
from cl_prompts.prompts.selectors import NearestKeys, Selection, count_choices
from cl_prompts.prompts.task_aware import TaskAware, start_task
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots, copy_slot, slot_rows
from tests.prompts.test_selectors import keys, nearest, query

__all__ = ["keys", "query"]  # fixtures


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

    index = BatchwisePrompt(Fixed(7, 4, k=2))(torch.randn(len(choices), 4)).index
    flat = [i for row in choices for i in row]
    want = sorted(range(7), key=lambda i: (-flat.count(i), i))[:2]
    assert index.tolist() == [want] * len(choices)
    count = count_choices(torch.tensor(choices), torch.zeros(7))
    assert count.tolist() == [flat.count(i) for i in range(7)]


def test_majority_acts_in_training_only_unless_asked(keys: NearestKeys, query: Tensor) -> None:
    vote = BatchwisePrompt(keys)
    assert (vote(query).index == vote(query).index[0]).all()
    assert torch.equal(vote.eval()(query).index, keys(query).index)
    leaking = BatchwisePrompt(keys, in_evaluation=True).eval()
    alone = torch.cat([leaking(q[None]).index for q in query])
    assert torch.equal(alone.sort(1).values, keys(query).index.sort(1).values)
    # the other samples of the batch decide
    assert not torch.equal(leaking(query).index.sort(1).values, alone.sort(1).values)


def test_every_task_aware_part_is_found() -> None:
    model = nn.Sequential(TaskSlots(NearestKeys(4, 8)), AttentionWeights(2, 4, 8, n_tasks=2))
    start_task(model, 1)
    assert [m.task for m in model.modules() if isinstance(m, TaskAware)] == [1, 1, 1]


class Noting(TaskAware):
    """Records its arguments."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[tuple[int, int]] = []

    def begin(self, task: int) -> None:
        self.begun.append((self.task, task))


def test_a_task_begins_once_and_tasks_may_be_left_out() -> None:
    part = Noting()
    for task in (0, 0, 3, 3):  # a resumed run announces its task again
        start_task(part, task)
    assert part.begun == [(-1, 0), (0, 3)]
    assert part.task == 3

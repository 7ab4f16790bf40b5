"""Parts that learn when a task starts."""

from __future__ import annotations

from torch import nn

from cl_prompts.prompts.components import AttentionWeights
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_aware import TaskAware, start_task
from cl_prompts.prompts.task_selectors import TaskSlots


def test_every_task_aware_part_is_found() -> None:
    model = nn.Sequential(TaskSlots(NearestKeys(4, 8)), AttentionWeights(2, 4, 8, n_tasks=2))
    start_task(model, 1)
    assert [m.task for m in model.modules() if isinstance(m, TaskAware)] == [1, 1, 1]


class Noting(TaskAware):
    """Writes down what it is told."""

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

"""Adapters of tasks that are trained one after the other (EASE)."""

from __future__ import annotations

from collections.abc import Hashable
from typing import cast

from torch import nn

from cl_prompts.backbones.adapters import BlockAdapters
from cl_prompts.backbones.injection import PromptPlan
from cl_prompts.checks import whole_number
from cl_prompts.errors import InputError
from cl_prompts.prompts.task_aware import TaskAware


class TaskAdapters(TaskAware):
    """Adapters beside every block, one set a task, which stand still once the next task starts.

    With ``spare`` there may be more tasks than sets: later ones have none.

    Args:
        n_tasks: sets in all.
        depth: blocks of the ViT.
        dim: width of a token.
        bottleneck: see :class:`~cl_prompts.backbones.adapters.Adapter`, and so are ``scale`` and
            ``dropout``.
        scale: of the adapters.
        dropout: of the adapters.
        spare: let tasks start for which there are no adapters.

    Raises:
        InputError: a number out of range, or without ``spare`` a task beyond ``n_tasks``.

    Example:
        >>> adapters = TaskAdapters(2, depth=4, dim=16, bottleneck=3)
        >>> adapters.start_task(1)
        >>> [all(p.requires_grad for p in part.parameters()) for part in adapters.sets]
        [False, True]
    """

    def __init__(
        self,
        n_tasks: int,
        depth: int,
        dim: int,
        *,
        bottleneck: int = 64,
        scale: float = 0.1,
        dropout: float = 0.1,
        spare: bool = False,
    ) -> None:
        super().__init__()
        whole_number("n_tasks", n_tasks)
        self.spare = spare
        self.sets = nn.ModuleList(
            BlockAdapters(depth, dim, bottleneck=bottleneck, scale=scale, dropout=dropout)
            for _ in range(n_tasks)
        )

    @property
    def started(self) -> int:
        """Sets whose task has started; the first one's from the beginning."""
        return min(max(self.task, 0) + 1, len(self.sets))

    def begin(self, task: int) -> None:
        """Fix the sets of the tasks before."""
        if task >= len(self.sets) and not self.spare:
            raise InputError(
                f"task {task} has no adapters: they were made for n_tasks={len(self.sets)}"
            )
        self._fix_before(task)

    def train(self, mode: bool = True) -> TaskAdapters:
        """Set the mode, but for sets that stand still: they drop nothing out."""
        super().train(mode)
        for part in self.sets[: max(self.task, 0)]:
            part.eval()
        return self

    def build(self, task: int) -> PromptPlan:
        """The plan with a task's adapters."""
        return cast(BlockAdapters, self.sets[task]).build()

    def version(self, task: int) -> Hashable:
        """Version of a set for caches: it changes whenever a parameter is written to."""
        # Torch has no public name for the counter of writes to a tensor.
        return tuple((p.data_ptr(), p._version) for p in self.sets[task].parameters())  # noqa: SLF001

    def set_extra_state(self, state: object) -> None:
        """The task, and with it which sets train."""
        super().set_extra_state(state)  # type: ignore[arg-type]
        self._fix_before(self.task)

    def _fix_before(self, task: int) -> None:
        for i, part in enumerate(self.sets):
            part.requires_grad_(i >= task)
            if i < task:
                part.eval()
                for parameter in part.parameters():
                    parameter.grad = None

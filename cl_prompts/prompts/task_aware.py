"""Parts with a hook at the start of a task: slots advance, components grow, what earlier tasks
learned is fixed."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class TaskAware(nn.Module):
    """A part with a hook at the start of a task.

    ``task`` is the task being learned, counted from 0, and -1 until one is announced; on a
    task-free stream it stays -1. It is a plain integer (shapes depend on it, and reading a tensor
    would synchronise with a GPU), and is stored in the ``state_dict`` as the module's extra state,
    a scalar tensor.

    Example:
        >>> class Announcer(TaskAware):
        ...     def begin(self, task: int) -> None:
        ...         print(f"task {task} after task {self.task}")
        >>> model = nn.Sequential(Announcer())
        >>> start_task(model, 0)
        task 0 after task -1
        >>> start_task(model, 0)  # announced already
    """

    task: int

    def __init__(self) -> None:
        super().__init__()
        self.task = -1

    def start_task(self, task: int) -> None:
        """Start ``task``. Announcing the current task again changes nothing, so that a resumed
        run may do it.

        Raises:
            InputError: the part has no room for it.
        """
        if task > self.task:
            self.begin(task)
            self.task = task
            self.fix_earlier()

    def begin(self, task: int) -> None:
        """Hook for subclasses: ``task`` starts, and ``self.task`` is still the task before."""

    def fix_earlier(self) -> None:
        """Hook for subclasses: keep ``self.task``'s predecessors from training, once it has started
        and once a state is loaded."""

    def get_extra_state(self) -> Tensor:
        """The task, for the ``state_dict``."""
        return torch.tensor(self.task)

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.task = int(state)
        self.fix_earlier()


def fix_before(parts: Iterable[nn.Module | nn.Parameter], task: int) -> None:
    """Fix the parts of tasks before ``task`` (their parameters require no gradient and hold none),
    and let all others train.

    Args:
        parts: one for each task, in order.
        task: from 0; -1: none has started.
    """
    for i, part in enumerate(parts):
        part.requires_grad_(i >= task)
        if i < task:
            # A gradient that stays behind would still move the parameter.
            for parameter in [part] if isinstance(part, nn.Parameter) else part.parameters():
                parameter.grad = None


def start_task(model: nn.Module, task: int) -> None:
    """Announce ``task`` (from 0) to every :class:`TaskAware` part of ``model``.

    Parts keep their Parameter objects, but which of them require a gradient changes, and slots are
    overwritten: call this before the optimizer of the task is made, and let that optimizer start
    without state, as published.
    """
    for module in model.modules():
        if isinstance(module, TaskAware):
            module.start_task(task)

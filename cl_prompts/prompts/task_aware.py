"""Parts with a hook at the start of a task."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from cl_prompts.errors import InputError


class TaskAware(nn.Module):
    """A part with a hook at the start of a task.

    ``task`` is the current task from 0, and -1 until one is announced; on a task-free stream it
    stays -1. It is an integer, since shapes depend on it and reading a tensor would synchronise
    with a GPU. The ``state_dict`` stores it as extra state, a scalar tensor.

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
        """Start ``task``; do nothing if it has started, as in a resumed run.

        Raises:
            InputError: the part does not support so many tasks.
        """
        if task > self.task:
            self.begin(task)
            self.task = task
            self.fix_earlier()

    def begin(self, task: int) -> None:
        """Hook: ``task`` starts; ``self.task`` is still the previous one."""

    def fix_earlier(self) -> None:
        """Hook: freeze the parts of tasks before ``self.task``, also after loading a state."""

    def get_extra_state(self) -> Tensor:
        """The task, for the ``state_dict``."""
        return torch.tensor(self.task)

    def set_extra_state(self, state: Tensor) -> None:
        """Inverse of :meth:`get_extra_state`."""
        self.task = int(state)
        self.fix_earlier()


def need_task(task: int, n_tasks: int, parts: str) -> None:
    """Raise ``InputError`` unless ``parts`` were made for so many tasks."""
    if task >= n_tasks:
        raise InputError(f"task {task} has no {parts}: they were made for n_tasks={n_tasks}")


def fix_before(parts: Iterable[nn.Module | nn.Parameter], task: int) -> None:
    """Freeze the parts of tasks before ``task``, drop their gradients, and unfreeze all others.

    Args:
        parts: one for each task, in order.
        task: from 0; -1: none has started.
    """
    for i, part in enumerate(parts):
        part.requires_grad_(i >= task)
        if i < task:
            # A remaining gradient would still change the parameter.
            for parameter in [part] if isinstance(part, nn.Parameter) else part.parameters():
                parameter.grad = None


def start_task(model: nn.Module, task: int) -> None:
    """Announce ``task`` (from 0) to every :class:`TaskAware` part of ``model``.

    Parts keep their Parameter objects, but change which require a gradient, and overwrite slots.
    Call it before the task's optimizer is made, and start that optimizer without state, as
    published.
    """
    for module in model.modules():
        if isinstance(module, TaskAware):
            module.start_task(task)

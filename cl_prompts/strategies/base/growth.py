"""Growth of a strategy: room for further classes and tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.checks import Size, at_least, fits, shown
from cl_prompts.errors import InputError
from cl_prompts.models.growth import Axes, grow_parts, padded


def grow(strategy: Any, classes: int | Sequence[str], tasks: int = 0) -> None:
    """Make room for classes that come later, in place, between two experiences.

    What was learned stays as it is. The initial values of a new row depend on the seed and the
    number of the class alone, and the optimizer has no momentum for it: to grow before an
    experience or after it comes to the same, but for weight decay, which acts on a row from when it
    is there.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        classes: how many further classes, or a list of their names, each once; they take the
            columns behind those that are there.
        tasks: announced tasks that will follow, for methods that divide prompts among
            ``n_tasks``.

    Raises:
        InputError: a model or an optimizer that was given ready-made, a strategy of the whole
            stream, or more prompts than the method can have; the strategy is then as before.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import NCM
        >>> ncm = NCM(backbone=create_backbone(), n_classes=6, evaluator=None)
        >>> ncm.grow(["plane", "ship"])
        >>> ncm.model.n_classes
        8
    """
    fits("classes", classes, Size | list[str])
    n_classes = len(classes) if isinstance(classes, Sequence) else int(classes)
    if isinstance(classes, Sequence) and len(set(classes)) < n_classes:
        raise InputError(f"classes are {shown(classes)}: name each of them once")
    at_least(0, tasks=tasks)
    if not n_classes and not tasks:
        return
    _refuse(strategy)
    known = strategy.n_tasks if "n_tasks" in strategy.settings() else None
    if tasks and known is not None:
        if strategy.has_entry_a_task(known + tasks):
            _grow(strategy, "task_axes", tasks, first=known)
        strategy.n_tasks = known + tasks
    if n_classes:
        _grow(strategy, "class_axes", n_classes, first=strategy.model.n_classes)
        strategy.n_classes = strategy.model.n_classes
        strategy.replay.grow(n_classes)
    # New prompts enter the optimizer.
    strategy.make_optimizer()


def _refuse(strategy: Any) -> None:
    kind = type(strategy).__name__
    if strategy.whole_stream:
        raise InputError(
            f"{kind} learns all of a stream at once and nothing later: train a new one on all"
            " images"
        )
    for name in ("model", "optimizer"):
        if strategy.explicit.get(name) is not None:
            raise InputError(
                f"{kind} was given its {name} ready-made, so it cannot grow: let it build one from"
                " its settings"
            )


def _grow(strategy: Any, axes: Axes, n: int, *, first: int) -> None:
    replaced = grow_parts(growing_parts(strategy), axes, n, first=first, seed=strategy.seed)
    _replace(strategy.optimizer, replaced)


def growing_parts(strategy: Any) -> Iterator[Any]:
    """The strategy, its plugins, and all modules that they hold, each once."""
    met: set[int] = set()
    for owner in (strategy, *strategy.plugins):
        yield owner
        for held in list(vars(owner).values()):
            for module in held.modules() if isinstance(held, nn.Module) else ():
                if id(module) not in met:
                    met.add(id(module))
                    yield module


def _replace(optimizer: Optimizer, replaced: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Let an optimizer train other parameters instead, with what momentum it has of the old."""
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(p, p) for p in group["params"]]
    for old, new in replaced.items():
        if old in optimizer.state:
            entries = optimizer.state.pop(old)
            # Adam's count of steps is of all rows.
            optimizer.state[new] = {
                name: padded(value, new.shape)
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for name, value in entries.items()
            }

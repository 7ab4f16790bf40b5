"""Expansion of a trained strategy to new classes or tasks."""

from collections.abc import Callable, Iterator, Mapping

from avalanche.core import BasePlugin
from avalanche.training.templates import SupervisedTemplate
from torch import Tensor, nn
from torch.optim import Optimizer

from cl_prompts.checks import Size, fits
from cl_prompts.errors import InputError
from cl_prompts.models.growth import Axes, grow_parts, padded


def grow(strategy: SupervisedTemplate, classes: int, tasks: int = 0) -> None:
    """Expand a trained strategy to new classes or tasks, in place, between two experiences.

    Learned values do not change. The initial values of a new row depend only on the seed and the
    number of its class, and it has no momentum. So the moment of growth does not matter, except
    that weight decay acts on a row as soon as it exists.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        classes: number of new classes; their columns follow the present ones.
        tasks: announced tasks to come, for methods that divide prompts among ``n_tasks``.

    Raises:
        InputError: the strategy learns the whole stream at once, or the method cannot have so many
            prompts; the strategy is unchanged.

    Example:
        >>> from cl_prompts.backbones import create_backbone
        >>> from cl_prompts.strategies import NCM
        >>> ncm = NCM(backbone=create_backbone(), n_classes=6, evaluator=None)
        >>> ncm.grow(2)
        >>> ncm.model.n_classes
        8
    """
    fits("classes", classes, Size)
    fits("tasks", tasks, Size)
    if not classes and not tasks:
        return
    if strategy.whole_stream:
        kind = type(strategy).__name__
        raise InputError(
            f"{kind} learns the whole stream at once and cannot grow: train a new one on all images"
        )
    known = strategy.n_tasks if "n_tasks" in strategy.settings() else None
    if tasks and known is not None:
        if strategy.has_entry_a_task(known + tasks):
            _grow(strategy, "task_axes", tasks, first=known)
        strategy.n_tasks = known + tasks
    if classes:
        _grow(strategy, "class_axes", classes, first=strategy.model.n_classes)
        strategy.n_classes = strategy.model.n_classes
        strategy.replay.grow(classes)
    strategy.make_optimizer()  # new prompts enter it


def _grow(strategy: SupervisedTemplate, axes: Axes, n: int, *, first: int) -> None:
    replaced = grow_parts(growing_parts(strategy), axes, n, first=first, seed=strategy.seed)
    _replace(strategy.optimizer, replaced)


def growing_parts(
    strategy: SupervisedTemplate,
) -> Iterator[SupervisedTemplate | BasePlugin | nn.Module]:
    """Yield the strategy, its plugins, and all modules in their attributes, each once."""
    met: set[int] = set()
    for owner in (strategy, *strategy.plugins):
        yield owner
        for held in list(vars(owner).values()):
            for module in held.modules() if isinstance(held, nn.Module) else ():
                if id(module) not in met:
                    met.add(id(module))
                    yield module


def regroup(
    optimizer: Optimizer,
    parameters: Mapping[str, nn.Parameter],
    group_of: Callable[[str], int],
    *,
    reset: bool = False,
) -> None:
    """Register new trainable parameters in an optimizer, and drop frozen ones.

    The others keep their optimizer state unless ``reset``. Groups follow the order of the model,
    since PyTorch saves optimizer state by position.

    Args:
        optimizer: to be changed in place.
        parameters: all parameters of the model, by name.
        group_of: maps the name of a parameter to the index of its group.
        reset: clear the state of all parameters.
    """
    trainable = {p: name for name, p in parameters.items() if p.requires_grad}
    groups = optimizer.param_groups
    # Momentum and weight decay would otherwise move parameters that were frozen.
    for group in groups:
        group["params"] = [p for p in group["params"] if p in trainable]
    known = {p for group in groups for p in group["params"]}
    for parameter, name in trainable.items():
        if parameter not in known:
            groups[group_of(name)]["params"].append(parameter)
    order = {parameter: number for number, parameter in enumerate(trainable)}
    for group in groups:
        group["params"].sort(key=order.__getitem__)
    for known_one in list(optimizer.state):
        if reset or known_one not in trainable:
            del optimizer.state[known_one]


def _replace(optimizer: Optimizer, replaced: Mapping[nn.Parameter, nn.Parameter]) -> None:
    """Replace parameters in an optimizer, with their momentum."""
    for group in optimizer.param_groups:
        group["params"] = [replaced.get(p, p) for p in group["params"]]
    for old, new in replaced.items():
        if old in optimizer.state:
            entries = optimizer.state.pop(old)
            # Adam's step count has no rows.
            optimizer.state[new] = {
                name: padded(value, new.shape)
                if isinstance(value, Tensor) and value.shape == old.shape
                else value
                for name, value in entries.items()
            }

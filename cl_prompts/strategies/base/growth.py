"""Growth of a strategy: room for classes and tasks that nobody knew of when it was made."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from avalanche.training.templates.base_sgd import PeriodicEval
from avalanche.training.utils import trigger_plugins
from torch import Tensor

from cl_prompts.checks import Bound, Size, at_least, fits, shown
from cl_prompts.errors import InputError
from cl_prompts.models.prototype_classifiers import PrototypeClassifier
from cl_prompts.strategies.base.plugin import StrategyPlugin
from cl_prompts.strategies.base.state import load_strategy_state, with_state
from cl_prompts.training.seeds import derived_seed, seeded


def grow(strategy: Any, classes: int | Sequence[str], tasks: int = 0) -> None:
    """Make room for classes that come later, in place, between two experiences.

    What was learned stays as it is. A new row begins with what depends on the seed, its number
    and, where prompts are divided among tasks, ``n_tasks``, and the optimizer has no momentum
    for it: to grow before an experience or after it comes to the same, but for weight decay, which
    acts on a row from when it is there.

    The strategy is constructed anew with room for one class more, then for another one, and its
    state is laid over the new one's: what was learned stays in front, and what follows, such as the
    row of class c in the head, is that of a construction for c + 1 classes, drawn from the
    strategy's seed, c and, where prompts are divided among tasks, the number of tasks so far. So it
    does not depend on what was learned, or together with which others a class comes.

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
    learned = _Learned(strategy)
    settings = _settings(strategy)
    state = learned.state
    try:
        # Which entries of the state belong to a class is not declared anywhere: two new strategies
        # of neighbouring sizes differ in just these, and in them what was learned is laid over the
        # larger one.
        before = _remade(strategy, settings)
        learned.compare(strategy)
        for larger in _steps(strategy, settings, n_classes, tasks):
            after = _remade(strategy, larger)
            state = _laid_over(state, before, after, _tensor_over)
            before = after
    # A construction with more room was refused: back to one of the size before.
    except InputError:
        _remade(strategy, settings)
        learned.compare(strategy)
        learned.give_back(strategy, learned.state)
        raise
    # References to samples stay as they are; only what is annotated gets wider.
    learned.replay.grow(n_classes)
    learned.give_back(strategy, state)


class _Learned:
    """State of a strategy, and the rest that a new construction would reset."""

    def __init__(self, strategy: Any) -> None:
        self.state = strategy.state_dict()
        self.replay = strategy.replay
        self._between_batches = strategy.between_batches
        self._clock = dict(vars(strategy.clock))
        self._values = _plain_values(strategy)
        self._assigned: dict[str, Any] = {}
        # A trainable copy of the ViT has a counter of its own.
        self._counts = strategy.model.backbone.counter.counts()
        # The same object goes on: schedulers hold it, and it may be of another kind.
        self._optimizer = optimizer = strategy.optimizer
        named = dict(strategy.model.named_parameters())
        self.momentum = {n: optimizer.state[p] for n, p in named.items() if p in optimizer.state}
        self._trained = {name: p.requires_grad for name, p in named.items()}
        names = {parameter: name for name, parameter in named.items()}
        self._group_of = {
            names[parameter]: number
            for number, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
            if parameter in names
        }

    def keep_rows(self, rows: Mapping[str, Tensor]) -> None:
        """Keep some rows of entries of the model's state, and their momentum."""
        for name, kept in rows.items():
            self.state["model"][name] = self.state["model"][name][kept]
            for key, value in self.momentum.get(name, {}).items():
                # Adam's count of steps has no rows.
                if isinstance(value, Tensor) and value.dim():
                    self.momentum[name][key] = value[kept]

    def compare(self, strategy: Any) -> None:
        """Note the settings that were assigned since its construction, of which this is another
        one."""
        fresh = _plain_values(strategy)
        values = self._values.items()
        self._assigned = {k: value for k, value in values if value != fresh.get(k, value)}

    def give_back(self, strategy: Any, state: dict[str, Any]) -> None:
        """Give a new construction the state, and the rest as it was."""
        strategy.replay = self.replay
        strategy.between_batches = self._between_batches
        vars(strategy.clock).update(self._clock)
        strategy.model.backbone.counter.go_on_from(self._counts)
        # Without experiences: the buffer is the one of before, and momentum follows by name.
        load_strategy_state(strategy, state, None)
        for name, parameter in strategy.model.named_parameters():
            if name in self.momentum:
                strategy.optimizer.state[parameter] = {
                    key: _padded(value, parameter) for key, value in self.momentum[name].items()
                }
        self._go_on(strategy)
        strategy.state_loaded()
        vars(strategy).update(self._assigned)
        # What was frozen since its construction stays so.
        for name, parameter in strategy.model.named_parameters():
            parameter.requires_grad_(self._trained.get(name, parameter.requires_grad))

    def _go_on(self, strategy: Any) -> None:
        """Let the optimizer as it was train the parameters of the new one, each in its group."""
        fresh, groups = strategy.optimizer, self._optimizer.param_groups
        trained = {parameter for group in fresh.param_groups for parameter in group["params"]}
        for group in groups:
            group["params"] = []
        for name, parameter in strategy.model.named_parameters():
            if parameter in trained:
                number = self._group_of.get(name, strategy.group_of(name))
                groups[min(number, len(groups) - 1)]["params"].append(parameter)
        self._optimizer.state = fresh.state
        strategy.optimizer = self._optimizer


def forget(strategy: Any, classes: Sequence[int]) -> list[str]:
    """Give up classes, in place, between two experiences: they are not predicted any more, and all
    that is kept for them alone is as in a new strategy. Their samples leave the replay buffer.

    Args:
        strategy: an :class:`~cl_prompts.strategies.base.online.OnlineStrategy`.
        classes: their numbers; the columns stay.

    Returns:
        Names of the parts of the model that all classes share, which keep what they learned.

    Raises:
        InputError: no such class, a replay buffer of images with several labels, or see
            :func:`grow`.
    """
    classes = list(dict.fromkeys(classes))  # samples of one named twice are still gone once
    for label in classes:
        Bound(0, strategy.model.n_classes - 1, whole=True).check("classes", label)
    if not classes:
        return []
    _refuse(strategy)
    if len(strategy.replay):
        # An experience's annotated classes are read from the data anew at each resume.
        if strategy.model.multi_label:
            raise InputError(
                f"{type(strategy).__name__} replays images with several labels, and would learn"
                " these again: train a new one without their images"
            )
        references, labels = strategy.replayed()
        strategy.forget_samples(references[torch.isin(labels, torch.tensor(list(classes)))])
    strategy.feature_cache.forget()
    for part in strategy.model.modules():
        if isinstance(part, PrototypeClassifier):
            part.forget_classes(classes)
    # What two new strategies, one with a class less, differ in is kept for each class; one with a
    # class more might not fit into memory.
    learned = _Learned(strategy)
    learned.keep_rows(strategy.model.rows_without(classes))
    settings = _settings(strategy)
    n_classes = settings["n_classes"]
    other = _remade(strategy, {**settings, "n_classes": n_classes - 1 if n_classes > 1 else 2})
    fresh = _remade(strategy, settings)
    learned.compare(strategy)
    clear = _cleared(classes)
    sizes = fresh["model"], other["model"]
    for name in learned.momentum.keys() & sizes[1].keys():
        entries = learned.momentum[name]
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.dim():
                new = torch.zeros_like(value)
                entries[key] = clear(value, new, new.new_zeros(sizes[1][name].shape))
    learned.give_back(strategy, _laid_over(learned.state, fresh, other, clear))
    trigger_plugins(strategy, "classes_forgotten", classes=classes)
    return [name for name, value in sizes[0].items() if value.shape == sizes[1][name].shape]


def _refuse(strategy: Any) -> None:
    kind = type(strategy).__name__
    if strategy.whole_stream:
        raise InputError(
            f"{kind} learns all of a stream at once and nothing later: train a new one on all"
            " images"
        )
    for name in ("model", "optimizer"):
        if strategy.given.get(name) is not None:
            raise InputError(
                f"{kind} was given its {name} ready-made, so it cannot grow: let it build one from"
                " its settings"
            )


def _settings(strategy: Any) -> dict[str, Any]:
    """Settings of a construction as the strategy is now, with the same plugins and evaluator."""
    internal = (strategy.evaluator, strategy.clock)
    plugins = [
        plugin
        for plugin in strategy.plugins
        # Avalanche's constructor puts these into the list by itself.
        if plugin not in internal and not isinstance(plugin, PeriodicEval)
    ]
    return {**strategy.given, "plugins": plugins, "evaluator": strategy.evaluator}


def _plain_values(strategy: Any) -> dict[str, Any]:
    """Settings that are numbers, words or None, as they are now."""
    values = strategy.values_of().items()
    return {name: value for name, value in values if isinstance(value, int | float | str | None)}


def _steps(
    strategy: Any, settings: dict[str, Any], n_classes: int, n_tasks: int
) -> Iterator[dict[str, Any]]:
    """Settings of constructions, each with room for one class or one task more."""
    for _ in range(n_classes):
        settings = {**settings, "n_classes": settings["n_classes"] + 1}
        yield settings
    for _ in range(n_tasks if settings.get("n_tasks") is not None else 0):
        settings = {**settings, **strategy.room_for_a_task(settings)}
        yield settings


def _remade(strategy: Any, settings: dict[str, Any]) -> dict[str, Any]:
    """Construct the strategy anew in place; its state then."""
    count = settings["n_classes"] + (settings.get("n_tasks") or 0)
    with seeded(derived_seed(strategy.seed, count)):
        strategy.__init__(**settings)  # in place, since others hold the strategy
    fresh: dict[str, Any] = strategy.state_dict()
    for (_, state), plugin in zip(fresh["plugins"], with_state(strategy.plugins), strict=True):
        if isinstance(plugin, StrategyPlugin):
            state |= plugin.later_state()
    return fresh


#: tensor of a state, that of a new strategy of the same size, that of one of another -> tensor
Merge = Callable[[Tensor, Tensor, Tensor], Tensor]


def _laid_over(state: Any, before: Any, after: Any, merge: Merge) -> Any:
    """A state that has learned, merged tensor by tensor with those of new strategies.

    Args:
        state: with what was learned.
        before: of a new strategy of the same size.
        after: of a new strategy with more room; where the two differ in size are classes or tasks.
        merge: of each tensor that has a counterpart.
    """
    if isinstance(state, Mapping):
        if not isinstance(before, Mapping):
            return state
        known = before.keys() & after.keys()
        laid = {
            key: _laid_over(value, before[key], after[key], merge) if key in known else value
            for key, value in state.items()
        }
        # Entries that come with the growth begin as in the new strategy.
        return laid | {key: after[key] for key in after if key not in before}
    if isinstance(state, list | tuple) and isinstance(before, list | tuple):
        if len(state) == len(before) == len(after):
            parts = zip(state, before, after, strict=True)
            return type(state)(_laid_over(*part, merge) for part in parts)
        return state
    # A number without dimensions does not grow.
    if not (isinstance(state, Tensor) and isinstance(before, Tensor) and state.dim()):
        return state
    return merge(state, before, after)


def _tensor_over(state: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """The tensor with the room that the new one's has."""
    added = [new - old for old, new in zip(before.shape, after.shape, strict=True)]
    if not any(added):
        return state
    shape = [have + more for have, more in zip(state.shape, added, strict=True)]
    # Entries that came while it learned, such as stored samples, have no counterpart.
    larger = after.clone() if list(after.shape) == shape else state.new_zeros(shape)
    larger[tuple(slice(have) for have in state.shape)] = state
    return larger


def _cleared(classes: Sequence[int]) -> Merge:
    """Put rows of these classes back to those of a new strategy."""

    def merge(state: Tensor, fresh: Tensor, other: Tensor) -> Tensor:
        state = state.clone()
        rows = torch.tensor(list(classes), device=state.device)
        # Entries that came while it learned have no counterpart.
        new = fresh if fresh.shape == state.shape else torch.zeros_like(state)
        for dim, (size, differing) in enumerate(zip(fresh.shape, other.shape, strict=True)):
            if size != differing:
                state.index_copy_(dim, rows, new.index_select(dim, rows).to(state.device))
        return state

    return merge


def _padded(value: Any, parameter: Tensor) -> Any:
    if not isinstance(value, Tensor) or not value.dim() or value.shape == parameter.shape:
        return value
    # Rows that came with the growth have no momentum yet.
    larger = value.new_zeros(parameter.shape)
    larger[tuple(slice(have) for have in value.shape)] = value
    return larger

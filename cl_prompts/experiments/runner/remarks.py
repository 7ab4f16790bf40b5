"""Remarks on settings that are valid and without effect on a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from cl_prompts.strategies.base.online import OnlineStrategy
from cl_prompts.strategies.base.prompt import PromptStrategy
from cl_prompts.user_code import label_of

if TYPE_CHECKING:
    from cl_prompts.experiments.runner.parts import Parts


def remarks(parts: Parts, *, announced: bool) -> list[str]:
    """Sentences on what a method leaves undone on its stream, whose task ends it may know."""
    strategy = parts.strategy
    name = label_of(parts.settings.strategy)
    found = [] if announced else _without_task_ends(parts, name)
    if not parts.data.multi_label:
        tasks = [np.asarray(parts.data.train.targets)[task] for task in parts.split.tasks]
        found += [f"{name}: {it}" for it in strategy.remarks_on(tasks, announced=announced)]
    return found


def _without_task_ends(parts: Parts, name: str) -> list[str]:
    strategy = parts.strategy
    if strategy.period is None:
        return [
            f"{name}: {type(plugin).__name__} acts at task ends alone, and this stream announces"
            f" none: set {name}.period, in samples"
            for plugin in strategy.plugins
            # A teacher that is copied after every batch needs no task.
            if hasattr(plugin, "end_of_task") and getattr(plugin, "teacher_from", "") != "batch"
        ]
    # Most methods keep the hook of their base, which is nothing of their own.
    idle = (OnlineStrategy.finish_task, PromptStrategy.finish_task)
    acts = type(strategy).finish_task not in idle or any(
        hasattr(plugin, "end_of_task") or hasattr(plugin, "start_of_period")
        for plugin in strategy.plugins
    )
    trained = sum(map(len, parts.split.tasks)) * strategy.train_epochs
    if not acts or strategy.period <= trained:
        return []
    return [
        f"{name} acts every {strategy.period} samples, and the stream has {trained}: set"
        f" {name}.period below that"
    ]

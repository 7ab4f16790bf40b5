"""Choose settings on a held-out part of the first task, as a learner of a stream could.

``python benchmarks/first_task.py RECIPE KEY=VALUE... -- KEY=A,B...`` trains the recipe's strategy
on four fifths of the first task's training images with every combination of the values behind
``--``, and prints the score on the other fifth (mean average precision, or accuracy). It uses
neither test images nor later tasks. Frozen features are computed once for all combinations.
"""

from __future__ import annotations

import sys
from itertools import product
from typing import Any

import numpy as np
import torch
from avalanche.benchmarks import DatasetExperience
from torch.utils.data import Dataset

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import (
    Resources,
    StreamInfo,
    make_strategy,
    options_on,
    split_of,
)
from cl_prompts.models.feature_cache import FeatureCache
from cl_prompts.scenarios.benchmarks import benchmark_from_split
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator

HELD_OUT = 0.2


class HeldOut(Dataset[Any]):
    """Some images as test images are seen, with labels of the first task's classes alone."""

    def __init__(self, images: Any, rows: list[int], classes: list[int]) -> None:
        self.images = images.plain()
        self.rows = rows
        self.targets = images.targets[rows].copy()
        if self.targets.ndim == 2:
            others = [c for c in range(self.targets.shape[1]) if c not in classes]
            self.targets[:, others] = 0

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.images[self.rows[index]]


class KeptFeatures(FeatureCache):
    """A feature cache that outlives a strategy."""

    def enter(self, source: int, n: int) -> None:
        """Make room once."""
        if source not in self._starts:
            super().enter(source, n)

    def clear(self) -> None:
        """Forget nothing."""


def part_of(task: Any, rows: list[int]) -> Any:
    """An experience of some of a task's samples."""
    places = np.flatnonzero(np.isin(task.indices, rows)).tolist()
    part: Any = DatasetExperience(dataset=task.dataset.subset(places), current_experience=0)
    part.origin_stream = task.origin_stream
    for name in ("classes_in_this_experience", "ordered", "boundaries", "task_labels"):
        setattr(part, name, getattr(task, name))
    return part


def main(recipe: str, fixed: list[str], grid: list[str]) -> None:
    """Print a score for each combination."""
    resources = Resources(quick=True)
    (settings,) = plan(recipe, fixed)
    data = resources.data(settings)
    split = split_of(settings, data)
    rows = torch.tensor(split.tasks[0])
    shuffled = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))].tolist()
    n = round(HELD_OUT * len(rows))
    kept = sorted(shuffled[n:])
    classes = np.flatnonzero(split.seen[0]).tolist()
    train = part_of(benchmark_from_split(data.train, data.test, split).train_stream[0], kept)
    evaluator = CachedEvaluator(HeldOut(data.train, sorted(shuffled[:n]), classes))
    work = KeptFeatures()
    print(f"{len(kept)} training and {n} held-out images of the first task")
    keys = [text.partition("=")[0] for text in grid]
    for values in product(*(text.partition("=")[2].split(",") for text in grid)):
        chosen = [f"{key}={value}" for key, value in zip(keys, values, strict=True)]
        (settings,) = plan(recipe, [*fixed, *chosen])
        torch.manual_seed(settings.seed)
        info = StreamInfo(len(data.classes), data.multi_label, split.n_tasks, split.boundaries)
        options = options_on(data.train, settings)
        strategy: Any = make_strategy(settings, resources.backbone(settings), info, options)
        if data.train.is_plain:
            strategy.feature_cache = work
        strategy.train(train)
        score = evaluator.evaluate(strategy.model, strategy.model.seen).accuracy
        print(f"{' '.join(chosen)}: {100 * score:.1f}", flush=True)


if __name__ == "__main__":
    at = sys.argv.index("--")
    main(sys.argv[1], sys.argv[2:at], sys.argv[at + 1 :])

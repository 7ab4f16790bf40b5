"""A scenario of your own: class-incremental with repetition, one class a task, each coming back.

python examples/own_scenario.py
cd examples; cl-prompts run digits scenario=own_scenario:recurring_classes scenario.visits=3
"""

from typing import Any

import numpy as np

import cl_prompts
from cl_prompts.backbones import create_backbone
from cl_prompts.scenarios import Split, benchmark_builder, load_dataset
from cl_prompts.strategies import AnytimeEvaluation, LinearProbe


@cl_prompts.scenario
def recurring_classes(targets: Any, *, visits: int = 2, seed: int = 1) -> Split:
    """One class a task in random order; each class comes ``visits`` times, with other samples."""
    labels = np.asarray(targets)
    rng = np.random.default_rng(seed)
    parts = []
    for label in np.unique(labels):
        parts += np.array_split(rng.permutation(np.flatnonzero(labels == label)), visits)
    tasks = [parts[i] for i in rng.permutation(len(parts))]
    return Split.of("recurring classes", labels, tasks, parameters={"visits": visits, "seed": seed})


if __name__ == "__main__":
    data = load_dataset("digits", image_size=32)
    benchmark = benchmark_builder(recurring_classes)(data.train, data.test, visits=2)
    print(benchmark.split.describe())
    anytime = AnytimeEvaluation(data.test, every=200)
    strategy = LinearProbe(
        backbone=create_backbone(), n_classes=10, plugins=[anytime], evaluator=None
    )
    for experience in benchmark.train_stream:
        strategy.train(experience, eval_streams=[])
    print(f"A_AUC {anytime.results['a_auc']:.3f}  A_last {anytime.results['a_last']:.3f}")

"""Avalanche's GDumb on a blurry stream: its memory, sorted by class, has to be shuffled.

python examples/gdumb.py
"""

import torch
from avalanche.training import GDumb
from torch.nn import CrossEntropyLoss, Flatten, Linear, Sequential
from torch.optim import SGD

from cl_prompts.scenarios import load_dataset, si_blurry_benchmark
from cl_prompts.strategies import AnytimeEvaluation

data = load_dataset("digits", image_size=32)
for shuffle in (False, True):
    torch.manual_seed(1)
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=5, seed=1)
    anytime = AnytimeEvaluation(benchmark.test_stream, every=100)
    model = Sequential(Flatten(), Linear(3 * 32 * 32, 10))
    parts = {"model": model, "optimizer": SGD(model.parameters(), 0.1), "mem_size": 500}
    gdumb = GDumb(**parts, criterion=CrossEntropyLoss(), plugins=[anytime], evaluator=None)
    for experience in benchmark.train_stream:
        experience.ordered = not shuffle  # the order of a memory is not that of the stream
        gdumb.train(experience, shuffle=shuffle)
    found = anytime.results
    print(f"shuffle={shuffle}: A_AUC {found['a_auc']:.1%}, A_last {found['a_last']:.1%}")

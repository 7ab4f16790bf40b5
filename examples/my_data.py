"""Your own data in Python: any map-style data set with .targets, streamed through two strategies.

    python examples/my_data.py

Here the data are two colours of noise; replace ``Pictures`` by your data set. Items are (image,
label) with RGB images (3, size, size) in [0, 1], always the same for an index in the test set.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbones import create_backbone
from cl_prompts.scenarios import as_dataset, si_blurry_benchmark
from cl_prompts.strategies import MVP, AnytimeEvaluation, LinearProbe


class Pictures(Dataset[tuple[Tensor, int]]):
    """Noise in the colour of its class."""

    def __init__(self, per_class: int, n_classes: int, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.targets = torch.arange(n_classes).repeat_interleave(per_class)
        colours = torch.rand(n_classes, 3, 1, 1, generator=torch.Generator().manual_seed(0))
        noise = torch.rand(len(self.targets), 3, 32, 32, generator=generator)
        self.images = 0.7 * colours[self.targets] + 0.3 * noise

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.targets[index])


def main() -> None:
    """Stream, train, compare."""
    data = as_dataset(Pictures(10, 6, seed=1), Pictures(5, 6, seed=2), name="noise")
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=3, seed=1)
    print(benchmark.split.describe())
    backbone = create_backbone()
    for kind in (LinearProbe, MVP):
        torch.manual_seed(0)
        anytime = AnytimeEvaluation(benchmark.test_stream, every=30)
        strategy = kind(
            backbone=backbone, n_classes=6, train_mb_size=16, plugins=[anytime], evaluator=None
        )
        for experience in benchmark.train_stream:
            strategy.train(experience)
        found = anytime.results
        print(
            f"{kind.__name__:12} A_AUC {found['a_auc']:.3f}  A_last {found['a_last']:.3f} "
            f" forgetting {found['forgetting']:.3f}"
        )


if __name__ == "__main__":
    main()

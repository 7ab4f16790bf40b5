"""An option of your own, as a plugin: a centre loss (Wen et al., ECCV 2016).

python examples/own_plugin.py
cd examples; cl-prompts run digits strategy=mvp plugins=own_plugin:CentreLoss
"""

import torch

from cl_prompts.backbones import create_backbone
from cl_prompts.checks import NotNegative
from cl_prompts.scenarios import load_dataset, si_blurry_benchmark
from cl_prompts.strategies import MVP, AnytimeEvaluation, StrategyPlugin


class CentreLoss(StrategyPlugin):
    """A term of loss that holds features to running means of their classes."""

    weight: NotNegative = 0.1
    """Weight of the term."""

    def attach(self, strategy):
        self.centres = torch.zeros_like(strategy.model.head.weight, device=strategy.device)
        self.state.add("centres")  # part of checkpoints from now on

    def before_backward(self, strategy, **kwargs):
        labels = strategy.batch.labels
        gap = strategy.output.features - self.centres[labels]
        strategy.loss = strategy.loss + self.weight * gap.square().mean()
        self.centres.index_add_(0, labels, gap.detach(), alpha=1 / len(labels))


if __name__ == "__main__":
    data = load_dataset("digits", image_size=32)
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=5, seed=1)
    anytime = AnytimeEvaluation(data.test, every=200)
    plugins = [anytime, CentreLoss(weight=1)]
    strategy = MVP(backbone=create_backbone(), n_classes=10, plugins=plugins, evaluator=None)
    strategy.train(benchmark.train_stream, eval_streams=[])
    print(f"A_AUC {anytime.results['a_auc']:.3f}  A_last {anytime.results['a_last']:.3f}")

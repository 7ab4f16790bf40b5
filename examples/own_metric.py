"""A metric of your own, as a plugin: the accuracy of the worst class.

python examples/own_metric.py
cd examples; cl-prompts run digits strategy=mvp plugins=own_metric:WorstClass
"""

from cl_prompts.backbones import create_backbone
from cl_prompts.scenarios import load_dataset, si_blurry_benchmark
from cl_prompts.strategies import NCM, AnytimeEvaluation, StrategyPlugin


class WorstClass(StrategyPlugin):
    """Accuracy of the class that is recognised worst, of those seen so far, at each evaluation."""

    def attach(self, strategy):
        for plugin in strategy.plugins:
            if isinstance(plugin, AnytimeEvaluation):
                plugin.listeners.insert(0, self.score)  # ahead of what writes the scores

    def score(self, kind, evaluation):
        accuracies = evaluation.by_class
        evaluation.scores["worst_class"] = float(accuracies[~accuracies.isnan()].min())


if __name__ == "__main__":
    data = load_dataset("digits", image_size=32)
    benchmark = si_blurry_benchmark(data.train, data.test, n_tasks=5, seed=1)
    anytime = AnytimeEvaluation(data.test, every=200)
    strategy = NCM(
        backbone=create_backbone(), n_classes=10, plugins=[anytime, WorstClass()], evaluator=None
    )
    strategy.train(benchmark.train_stream, eval_streams=[])
    print(f"worst class {anytime.results['worst_class']:.3f}")

"""Expected calibration error of scores before and after the temperature, on the embedded digits.

    python benchmarks/calibration.py [--seeds 1 2 3] [--only ncm ranpac]

Each method is trained on the stream of recipe ``digits``. The temperature T is that of
``cl-prompts predict``, fitted on training images. The test images measure the expected calibration
error (15 bins of equal width, Guo et al., ICML 2017) of softmax(logits) and softmax(logits / T).
Prints means and standard deviations over seeds, in percent.
"""

from __future__ import annotations

import argparse
import statistics
import warnings

import torch
from torch import Tensor

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator

METHODS = ("recommended", "ncm", "slda", "ranpac", "linear_probe")
BINS = 15


def calibration_error(probabilities: Tensor, targets: Tensor) -> float:
    """Mean distance of confidence and accuracy over bins of confidence, weighted by images.

    >>> calibration_error(torch.tensor([[0.75, 0.25], [0.25, 0.75]]), torch.tensor([0, 0]))
    0.25
    """
    sure, label = probabilities.max(dim=1)
    bins = (sure * BINS).long().clamp(max=BINS - 1)
    distance = (label == targets).double() - sure.double()
    sums = torch.zeros(BINS, dtype=torch.float64).index_add_(0, bins, distance)
    return float(sums.abs().sum() / len(targets))


def numbers(method: str, seed: int) -> list[float]:
    """Accuracy, and calibration error before and after, in percent; NaN without a temperature."""
    (settings,) = plan("digits", [f"strategy={method}", f"seed={seed}", "every=null"])
    run = build_run(settings, Resources(quick=True))
    for task in run.benchmark.train_stream:
        run.strategy.train(task, eval_streams=[])
    model = run.strategy.model.eval()
    evaluator = CachedEvaluator(run.data.test, device=run.strategy.device)
    found = list(evaluator.logits(model, model.seen))
    logits = torch.cat([chunk for _, chunk in found]).cpu()
    targets = evaluator.targets[torch.cat([rows for rows, _ in found])]
    temperature = run.sample and run.sample.temperature(model.head)
    accuracy = float((logits.argmax(dim=1) == targets).double().mean())
    before, after = (
        float("nan") if t is None else calibration_error((logits / t).softmax(dim=1), targets)
        for t in (1.0, temperature)
    )
    return [100 * accuracy, 100 * before, 100 * after]


def main() -> None:
    """Train, and print the table in Markdown."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="two or more")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS)
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    print("| method | accuracy | calibration error before | after |\n| --- | --- | --- | --- |")
    for method in args.only:
        columns = zip(*(numbers(method, seed) for seed in args.seeds), strict=True)
        spread = [
            f"{statistics.mean(c):.1f} ± {statistics.stdev(c):.1f}" if c[0] == c[0] else "rank"
            for c in columns
        ]
        print(f"| {method} | {' | '.join(spread)} |", flush=True)


if __name__ == "__main__":
    main()

"""Measure how well images of unknown classes are detected on the embedded digits.

    python benchmarks/unknown.py [--seeds 1 2 3] [--only ncm ranpac]

Each method is trained on eight of the ten digits, in an order drawn from the seed. One half of
their test images sets the threshold of ``predict --unknown``. The other half measures the share of
known images below it (mean over many halves), which should equal the rate. All test images of the
two digits left out measure the share of unknown images below it, and the AUROC of confidence.
Prints the table of docs/records/results.md: means and standard deviations over seeds.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Iterator

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.experiments.trained.predicting import threshold_at
from cl_prompts.metrics.confidence import confidence
from cl_prompts.strategies.evaluation.evaluator import CachedEvaluator

METHODS = {
    "ncm": ["strategy=ncm"],
    "slda": ["strategy=slda"],
    "ranpac": ["strategy=ranpac"],
    "linear_probe, whitened": ["strategy=linear_probe", "head.input=whitened"],
    "mvp": ["strategy=mvp"],
    "mvp, whitened": ["strategy=mvp", "head.input=whitened"],
}
STREAM = ["scenario=class_incremental", "n_tasks=5", "scenario.class_order=shuffled", "every=null"]
TASKS = 4  # of these five are trained
RATES = (0.05, 0.2)
HALVES = 200


def scores(method: str, seed: int) -> tuple[float, Tensor, Tensor]:
    """Accuracy on test images of the eight digits, and the calibrated confidence in each of them
    and in each of the two others."""
    (settings,) = plan("digits", [*METHODS[method], *STREAM, f"seed={seed}"])
    run = build_run(settings, Resources(quick=True))
    for task in run.benchmark.train_stream[:TASKS]:
        run.strategy.train(task, eval_streams=[])
    model = run.strategy.model.eval()
    test = run.data.test
    evaluator = CachedEvaluator(test, device=run.strategy.device)
    accuracy = evaluator.evaluate(model, model.seen).accuracy
    others = torch.nonzero(~model.seen.cpu()[evaluator.targets]).flatten().tolist()
    known = torch.cat([logits for _, logits in evaluator.logits(model, model.seen)])
    with torch.no_grad():
        unknown = model(torch.stack([test[row][0] for row in others]).to(run.strategy.device))
    temperature = (run.sample and run.sample.temperature(model.head)) or 1.0
    sure = [confidence(logits.cpu() / temperature) for logits in (known, unknown)]
    return accuracy, sure[0], sure[1]


def below(rate: float, known: Tensor, unknown: Tensor) -> tuple[float, float]:
    """Shares of the other half of the known images, and of the unknown ones, below the threshold
    that one half sets; means over random halves."""
    generator = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(HALVES):
        held_out, rest = known[torch.randperm(len(known), generator=generator)].chunk(2)
        threshold = threshold_at(rate, held_out.sort().values.tolist())
        shares.append([float((part < threshold).float().mean()) for part in (rest, unknown)])
    of_known, of_unknown = zip(*shares, strict=True)
    return statistics.mean(of_known), statistics.mean(of_unknown)


def numbers(method: str, seed: int) -> list[float]:
    """A column each of the table, for one seed."""
    accuracy, known, unknown = scores(method, seed)
    shares = [share for rate in RATES for share in below(rate, known, unknown)]
    is_known = [1] * len(known) + [0] * len(unknown)
    auroc = roc_auc_score(is_known, torch.cat([known, unknown]).numpy())
    return [100 * value for value in (accuracy, *shares, float(auroc))]


def rows(methods: list[str], seeds: list[int]) -> Iterator[str]:
    """The table in Markdown, line by line."""
    heads = [f"{who}, rate {100 * r:g} %" for r in RATES for who in ("known", "not learned")]
    yield " | ".join(["| method", "accuracy", *heads, "AUROC |"])
    yield "| --- |" + " --- |" * (2 + len(heads))
    for method in methods:
        columns = zip(*(numbers(method, seed) for seed in seeds), strict=True)
        spread = [f"{statistics.mean(c):.1f} ± {statistics.stdev(c):.1f}" for c in columns]
        yield f"| {method} | {' | '.join(spread)} |"


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="two or more")
    parser.add_argument("--only", nargs="+", choices=[*METHODS], default=[*METHODS])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    for row in rows(args.only, args.seeds):
        print(row, flush=True)


if __name__ == "__main__":
    main()

"""Compare classifiers without gradients on one stream, with differences paired over seeds.

    python benchmarks/solved.py digits
    python benchmarks/solved.py cifar100_small dataset.root=DATA weights=FILE --reference RanPAC
    python benchmarks/solved.py digits --only AIR --add "AIR, ridge 1: strategy=air ridge=1"

All of them read the same features: training images are seen as test images are, without
augmentation, and an image is put through the frozen ViT once for all methods and seeds (once more
for LayUP, which reads other blocks). Features are stored in float16. Otherwise streams, settings
and evaluation are those of the recipe, as in ``cl-prompts run RECIPE strategy=NAME seed=1-3``.
Constants are those of papers or recipes, and GACL has as many random features as the others. Prints
mean and standard deviation of A_AUC and A_last over seeds in %, and differences to the reference
with 95 % intervals.
"""

from __future__ import annotations

import argparse
import statistics
import warnings
from collections.abc import Callable, Collection, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.results.aggregates import paired_difference
from cl_prompts.experiments.runner.building import Resources, build_run
from cl_prompts.metrics.continual import a_auc, a_last
from cl_prompts.strategies import strategy_class

METHODS = {
    "nearest class mean": ["strategy=ncm"],
    "streaming LDA": ["strategy=slda"],
    "streaming LDA, OAS": ["strategy=slda", "shrinkage=oas"],
    "RanPAC": ["strategy=ranpac"],
    "GACL": ["strategy=gacl", "projection=2000"],
    "AIR": ["strategy=air"],
    "LayUP": ["strategy=layup"],
    "KLDA": ["strategy=klda"],
    "RanDumb": ["strategy=randumb"],
    "AnaCP": ["strategy=anacp"],
    "FeCAM": ["strategy=fecam"],
    "RDA": ["strategy=rda"],
    "balanced ridge": ["strategy=balanced_ridge"],
    "AIR, half of all blocks": ["strategy=air", "features=blocks:half"],
    "recommended": ["strategy=recommended"],
}
#: the read-out of half of all blocks
WIDEST = "blocks:half"
#: method -> A_AUC by seed, A_last by seed
Results = dict[str, tuple[dict[int, float], dict[int, float]]]
#: read-out -> digest of an image -> its features in float16
Known = dict[str, dict[str, Tensor]]


class Remembered:
    """Features of images, each computed once.

    Args:
        compute: images (batch, 3, size, size) -> features (batch, width).
        known: features by the digest of an image, which others may share.
    """

    def __init__(self, compute: Callable[[Tensor], Tensor], known: dict[str, Tensor]) -> None:
        self.compute = compute
        self.known = known

    def __call__(self, images: Tensor) -> Tensor:
        """Features (batch, width) of images (batch, 3, size, size)."""
        keys = [blake2b(image.cpu().numpy().tobytes()).hexdigest()[:32] for image in images]
        new = [row for row, key in enumerate(keys) if key not in self.known]
        if new:
            rows = zip(new, self.compute(images[new]), strict=True)
            self.known.update({keys[row]: feature.half() for row, feature in rows})
        return torch.stack([self.known[key] for key in keys]).float()


def measure(
    recipe: str, texts: list[str], methods: list[str], seeds: list[int], known: Known
) -> Results:
    """A_AUC and A_last in % by method and seed; each is printed once it is known."""
    resources = Resources(quick=True)
    found: Results = {method: ({}, {}) for method in methods}
    for seed in seeds:
        for method in methods:
            given = [*METHODS[method], f"seed={seed}"]
            (settings,) = plan(recipe, [*texts, *given])
            strategy_class(settings.strategy).plain_images = True  # the same view for all
            run = build_run(settings, resources)
            strategy: Any = run.strategy
            strategy.model.features = remembered_features(strategy, known)
            for task in run.benchmark.train_stream:
                strategy.train(task, eval_streams=[])
            scores = 100 * a_auc(run.anytime.curve), 100 * a_last(run.anytime.curve)
            for values, score in zip(found[method], scores, strict=True):
                values[seed] = score
            print(f"seed {seed}, {method}: {scores[0]:.1f} / {scores[1]:.1f}", flush=True)
    return found


def remembered_features(strategy: Any, known: Known) -> Callable[[Tensor], Tensor]:
    """Features of a strategy's read-out; the class token is the last of the blocks that others
    read."""
    vit = strategy.model.backbone
    shared = strategy.features in ("token", WIDEST)
    compute = vit.with_features(WIDEST) if shared else strategy.model.features
    wide = Remembered(compute, known.setdefault(WIDEST if shared else strategy.features, {}))
    return (lambda images: wide(images)[:, -vit.dim :]) if strategy.features == "token" else wide


def table(found: Results, reference: str) -> Iterator[str]:
    """The table in Markdown, line by line."""
    differences = [f"{name} minus that of {reference}" for name in ("A_AUC", "A_last")]
    yield f"| strategy | A_AUC | A_last | {' | '.join(differences)} |"
    yield "| --- |" + " --- |" * 4
    for method, columns in found.items():
        means = [spread(values.values()) for values in columns]
        pairs = zip(columns, found[reference], strict=True)
        gaps = ["-" if method == reference else gap(ours, theirs) for ours, theirs in pairs]
        yield f"| {method} | {' | '.join([*means, *gaps])} |"


def spread(values: Collection[float]) -> str:
    """Mean and sample standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{deviation}"


def gap(ours: dict[int, float], theirs: dict[int, float]) -> str:
    """Difference paired over seeds, with its 95 % interval."""
    found = paired_difference(ours, theirs)
    if found is None:
        return "-"
    interval = f" [{found.low:+.1f}, {found.high:+.1f}]" if found.pairs > 1 else ""
    return f"{found.mean:+.1f}{interval}"


def main() -> None:
    """Train, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=[*METHODS], default=[*METHODS])
    parser.add_argument("--add", nargs="+", metavar="NAME: KEY=VALUE...", default=[])
    parser.add_argument("--reference", default="streaming LDA")
    parser.add_argument("--features", type=Path, help="file that keeps features between calls")
    args = parser.parse_args()
    for text in args.add:
        name, _, settings = text.partition(": ")
        METHODS[name] = settings.split()
        args.only.append(name)
    if args.reference not in args.only:
        parser.error(f"the reference is {args.reference!r}: name it in --only, too")
    warnings.simplefilter("ignore")
    known: Known = {}
    if args.features and args.features.exists():
        known = torch.load(args.features, weights_only=True)
    before = {name: len(features) for name, features in known.items()}
    found = measure(args.recipe, args.settings, args.only, args.seeds, known)
    if args.features and before != {name: len(features) for name, features in known.items()}:
        torch.save(known, args.features)
    print()
    for line in table(found, args.reference):
        print(line)


if __name__ == "__main__":
    main()

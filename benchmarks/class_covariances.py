"""Compare rules of RDA on held-out training images, or draw accuracy over classes and images.

    python benchmarks/class_covariances.py RECIPE strategy=recommended [--picture FILE.png]

Features are those of the strategy, in float16. A fifth of the training images of each class is held
out. Classes are taken in groups; from each group so many training images a class are used. Prints
the accuracy in % on the held-out images, averaged over groups and three divisions, for each rule.
With ``--picture`` the fixed rule is drawn beside the balanced ridge and linear discriminant
analysis, over the number of classes and of images a class.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import altair as alt
import torch
import vl_convert
from torch import Tensor
from torch.utils.data import DataLoader

from cl_prompts.closed_form.discriminant import RegularisedDiscriminant
from cl_prompts.closed_form.pooled_ridge import PooledRidge
from cl_prompts.closed_form.shrinkage import CANDIDATES, mean_variance, oas
from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import Resources

RIDGES: tuple[Any, ...] = ("oas", "covariance", "evidence", 0.1, 0.3)
#: a; "count": n / D, the fixed rule; "share": n / (n + D)
WEIGHTS: tuple[Any, ...] = (0.03, 0.1, 0.3, "count", "share")
HELD_OUT = 5
LEGEND = ("ridge", "LDA", "rank 2", "rank 8", "rank 32")


class Candidate(RegularisedDiscriminant):
    """The classifier with another weight a of the class covariances."""

    own_weight: Any = "count"

    def roots(self) -> Tensor:
        """(classes, rank, dim) sqrt(a_c) V_c."""
        share = self.count / (self.count + self.dim)
        named = {"count": self.count / self.dim, "share": share}
        a = named.get(self.own_weight, self.own_weight)
        factor = (a * self.dim / self.count.clamp(min=1)).sqrt()
        return factor[:, None, None] * super().roots()


def covariance_evidence(covariance: Tensor, samples: Tensor) -> float:
    """The b of greatest evidence of the covariance S alone, under an inverse Wishart prior of mean
    t I that weighs as b n samples: minus twice its logarithm is, but for a constant, ``(v + n) log
    det(S + b t I) - v dim log(b t) + 2 log G(v / 2) - 2 log G((v + n) / 2)`` with the multivariate
    gamma function G and ``v = b n + dim + 1``."""
    dim, t = len(covariance), mean_variance(covariance)
    found = {}
    for b in CANDIDATES:
        system = covariance + b * t * torch.eye(dim, dtype=t.dtype)
        v = b * samples + dim + 1
        gammas = [torch.special.multigammaln(w / 2, dim) for w in (v, v + samples)]
        surprise = (v + samples) * torch.logdet(system) - v * dim * (b * t).log()
        found[b] = float(surprise + 2 * (gammas[0] - gammas[1]))
    return min(found, key=found.__getitem__)


def divided(y: Tensor, classes: list[int], n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Rows of n training images a class, and of the held-out fifth."""
    generator = torch.Generator().manual_seed(seed)
    train, test = [], []
    for c in classes:
        rows = (y == c).nonzero().flatten()
        rows = rows[torch.randperm(len(rows), generator=generator)]
        test.append(rows[: len(rows) // HELD_OUT])
        train.append(rows[len(rows) // HELD_OUT :][:n])
    return torch.cat(train), torch.cat(test)


def accuracies(
    x: Tensor, y: Tensor, train: Tensor, test: Tensor, ranks: list[Any]
) -> Iterator[tuple[str, float]]:
    """Name of each rule and its accuracy."""
    classes, labels = y[train].unique(), torch.searchsorted(y[train].unique(), y)
    ridge = PooledRidge(x.shape[1], len(classes))
    ridge.update(x[train], labels[train])
    yield "pooled ridge", accuracy(ridge, x[test], labels[test])
    for rank in ranks:
        rda = Candidate(x.shape[1], len(classes), rank=rank)
        rda.update(x[train], labels[train])
        for b in RIDGES:
            rda.relative = number(rda, b)
            for a in WEIGHTS if rank else ("count",):
                rda.own_weight, rda.weight = a, None
                yield f"rank {rank}, b = {b}, a = {a}", accuracy(rda, x[test], labels[test])


def number(rda: RegularisedDiscriminant, rule: Any) -> Any:
    """The ridge of a rule that is not the package's."""
    n = rda.count.sum()
    if rule == "covariance":
        return covariance_evidence(rda.scatter / n, n)
    if rule == "oas":
        s = rda.scatter / n
        rho = oas(len(s), n, s.trace(), s.square().sum())
        return float(rho / (1 - rho))
    return rule


def accuracy(classifier: Any, x: Tensor, labels: Tensor) -> float:
    """Accuracy in %."""
    return 100 * float((classifier.logits(x).argmax(dim=1) == labels).double().mean())


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("recipe")
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--first", type=int, default=20, help="first class")
    parser.add_argument("--group", type=int, default=20, help="classes of a group")
    parser.add_argument("--images", type=int, default=96, help="training images a class")
    parser.add_argument("--last-block", type=int, help="only so many features, the last ones")
    parser.add_argument("--ranks", type=int, nargs="+", default=[0, 2, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--picture", type=Path, help="draw the fixed rule to this file instead")
    args = parser.parse_args()
    x, y = features_of(args.recipe, args.settings)
    x = x[:, -(args.last_block or 0) :]
    if args.picture:
        args.picture.write_bytes(vl_convert.vegalite_to_png(picture(x, y, args), ppi=110))
        return
    rules = partial(accuracies, ranks=args.ranks)
    for name, value in means(x, y, args, args.group, args.images, rules).items():
        print(f"{name}: {value:.1f}")


@torch.no_grad()
def features_of(recipe: str, settings: list[str]) -> tuple[Tensor, Tensor]:
    """Features (n, width) and labels (n,) of a recipe's training images."""
    run = plan(recipe, settings)[0]
    resources = Resources(quick=True)
    data = resources.data(run)
    backbone = resources.backbone(run, data).with_features(run.options["features"])
    images = DataLoader(data.train.plain(), batch_size=64)
    found = [backbone(batch).half() for batch, _ in images]
    return torch.cat(found).float(), torch.from_numpy(data.train.targets)


def means(
    x: Tensor, y: Tensor, args: argparse.Namespace, group: int, images: int, rules: Any
) -> dict[str, float]:
    """Mean accuracy of each rule over groups of classes and divisions."""
    found: dict[str, list[float]] = {}
    for start in range(args.first, int(y.max()) + 2 - group, group):
        for seed in args.seeds:
            rows = divided(y, list(range(start, start + group)), images, seed)
            for name, value in rules(x.double(), y, *rows):
                found.setdefault(name, []).append(value)
    return {name: sum(values) / len(values) for name, values in found.items()}


def fixed(x: Tensor, y: Tensor, train: Tensor, test: Tensor) -> Iterator[tuple[str, float]]:
    """Name and accuracy of the classifiers of the picture."""
    classes = y[train].unique()
    labels, size = torch.searchsorted(classes, y), (x.shape[1], len(classes))
    made = {"ridge": PooledRidge(*size)}
    for rank, name in {0: "LDA", 2: "rank 2", 8: "rank 8", 32: "rank 32"}.items():
        made[name] = RegularisedDiscriminant(*size, rank=rank)
    for name, classifier in made.items():
        classifier.update(x[train], labels[train])
        yield name, accuracy(classifier, x[test], labels[test])


def picture(x: Tensor, y: Tensor, args: argparse.Namespace) -> dict[str, Any]:
    """Accuracy over classes at 96 images each, and over images at 80 classes."""
    panels = []
    for title, grid in {
        "classes (96 images each)": [(n, n, 96) for n in (5, 10, 20, 40, 80)],
        "images a class (80 classes)": [(n, 80, n) for n in (12, 24, 48, 96)],
    }.items():
        values = [
            {"at": at, "classifier": name, "accuracy": value}
            for at, group, images in grid
            for name, value in means(x, y, args, group, images, fixed).items()
        ]
        ticks = alt.Axis(values=[at for at, *_ in grid], grid=False)
        scale = alt.Scale(type="log", nice=False)
        chart = alt.Chart(alt.Data(values=values)).mark_line(point=True, strokeWidth=2.5)
        chart = chart.encode(
            x=alt.X("at:Q", title=title, scale=scale, axis=ticks),
            y=alt.Y("accuracy:Q", title="accuracy, %", scale=alt.Scale(zero=False)),
            color=alt.Color("classifier:N", title=None, sort=list(LEGEND)),
        )
        panels.append(chart.properties(width=360, height=300))
    look = {"labelFontSize": 15, "titleFontSize": 16, "titleFontWeight": "normal"}
    whole = alt.hconcat(*panels).configure_axis(**look).configure_legend(labelFontSize=16)
    return whole.configure_view(stroke=None).to_dict()


if __name__ == "__main__":
    main()

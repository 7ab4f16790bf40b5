"""Cost of whole MVP runs in the Si-Blurry protocol, with and without the feature cache.

    python benchmarks/protocol.py [--backbone vit_small_patch14_dinov2] [--image-size 70] [--samples
    1600] [--classes 100] [--test 320] [--evaluations 50] [--rounds 1] [--threads 1]
    [--precision fp32 bf16] [--json FILE]

A stream of 5 tasks in batches of 32 with three updates each, and evaluations at equal distances on
the test images of the classes seen so far. The defaults keep the proportions of CIFAR-100 with an
evaluation every 1,000 samples. Images are noise around a colour for each class and weights are
random: cost depends on neither, and the A_AUC of two rows is compared, not read.

"none" computes every forward pass again. "evaluation" is what a run does: the queries of test
images are computed once, and a pass over the same batch as the last time does not begin anew.
"evaluation, training" also keeps what is frozen of training images, as ``one_view`` does, which is
exact here since these images are not augmented. The three take turns, task by task; seconds are CPU
time, least of the rounds, with one thread, since several also spend it on waiting for each other.
"ratio" is the seconds over those of "none" at the same precision, "forwards" what the backbone
computed forwards, in whole passes over an image; backward passes are not in it.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from contenders import Pictures
from cost import machine

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import MVP, AnytimeEvaluation

PRECISIONS = ["fp32", "bf16"]
REUSE = ("none", "evaluation", "evaluation, training")
N_TASKS = 5


class Run:
    """A run of MVP with one form of reuse, and what it has cost so far."""

    def __init__(self, backbone: FrozenViT, reuse: str, args: argparse.Namespace) -> None:
        torch.manual_seed(0)
        train, test = (
            Pictures(n, backbone.image_size, args.classes) for n in (args.samples, args.test)
        )
        every = args.samples // args.evaluations
        self.reuse = reuse
        self.seconds = self.macs = 0.0
        self.anytime = AnytimeEvaluation(test, n_classes=args.classes, every=every)
        self.anytime.evaluator.cache = reuse != "none"
        self.strategy = MVP(
            backbone=backbone,
            n_classes=args.classes,
            train_mb_size=32,
            online_iter=3,
            one_view=reuse == "evaluation, training",
            evaluator=None,
            plugins=[self.anytime],
            device="cpu",
        )
        self.stream = si_blurry_benchmark(train, test, n_tasks=N_TASKS, seed=1).train_stream

    def train(self, task: int) -> None:
        """Train on a task, with its evaluations."""
        counter, start = self.strategy.model.backbone.counter, time.process_time()
        before = counter.macs
        self.strategy.train(self.stream[task], eval_streams=[])
        self.macs += counter.macs - before
        self.seconds += time.process_time() - start

    def row(self) -> dict[str, Any]:
        """Seconds, counted work and A_AUC."""
        return {
            "reuse": self.reuse,
            "seconds": self.seconds,
            "forwards": self.macs / self.strategy.model.backbone.forward_macs,
            "a_auc": self.anytime.a_auc,
            "evaluations": len(self.anytime.curve.anytime),
        }


def together(backbone: FrozenViT, args: argparse.Namespace) -> list[dict[str, Any]]:
    """The runs with each form of reuse, task by task in turn."""
    runs = [Run(backbone, reuse, args) for reuse in REUSE]
    for task in range(N_TASKS):
        for run in runs:
            run.train(task)
    return [run.row() for run in runs]


def rows(precision: Literal["fp32", "bf16"], args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The runs at one precision, least of the rounds."""
    backbone = create_backbone(
        args.backbone, weights="random", image_size=args.image_size, precision=precision
    )
    rounds = [together(backbone, args) for _ in range(args.rounds)]
    least = [min(found, key=lambda row: row["seconds"]) for found in zip(*rounds, strict=True)]
    for row in least:
        ratio = row["seconds"] / least[0]["seconds"]
        yield {"precision": precision, **row, "ratio": ratio}


def line(row: dict[str, Any]) -> str:
    """A row of the table in docs/records/performance.md."""
    cells = [
        row["precision"],
        row["reuse"],
        f"{row['seconds']:,.0f}",
        f"{row['ratio']:.2f}",
        f"{row['forwards']:,.0f}",
        f"{100 * row['a_auc']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="vit_small_patch14_dinov2")
    parser.add_argument("--image-size", type=int, default=70)
    parser.add_argument("--samples", type=int, default=1600)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--test", type=int, default=320)
    parser.add_argument("--evaluations", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--precision", nargs="+", choices=PRECISIONS, default=PRECISIONS)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*RANDOM weights.*")
    torch.set_num_threads(args.threads)
    header = machine(argparse.Namespace(device="cpu", threads=args.threads))
    print(", ".join(f"{name} {value}" for name, value in header.items()))
    print("| precision | reuse | CPU seconds | ratio | forwards | A_AUC |")
    print("| --- | --- | --- | --- | --- | --- |")
    found = []
    for precision in args.precision:
        for row in rows(precision, args):
            found.append(row)
            print(line(row), flush=True)
    if args.json:
        settings = {name: value for name, value in vars(args).items() if name != "json"}
        args.json.write_text(json.dumps({**header, **settings, "rows": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Cost of each method as a ratio to one frozen forward of the same ViT (the unit F).

    python benchmarks/cost.py [--backbone vit_base_patch16_224] [--batch 8] [--rounds 5] [--threads N]

Contenders and the unit alternate in one process, so that a busy machine slows both; the number is the median over rounds
of contender time / unit time. Random weights: cost does not depend on them. The unit is timm's own forward with fused
attention under no_grad plus a linear-head step.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import torch
import torch.nn.functional as F

from cl_prompts.strategies import MVP, LinearProbe
from cl_prompts.strategies.base import OnlineStrategy
from cl_prompts.weights import create_backbone

TARGETS = {"MVP training step": 2.75, "MVP inference": 1.95, "MVP inference, stored queries": 0.95}


def training_step(strategy: OnlineStrategy, images: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """What a run computes on one batch: forward, loss, backward, optimizer step, statistics."""

    def step() -> None:
        strategy.mbatch = [images, labels]
        strategy.optimizer.zero_grad()
        strategy.forward()
        strategy.training_loss().backward()
        strategy.optimizer.step()
        strategy.after_step()

    return step


def without_gradient(work: Callable[[], object]) -> Callable[[], None]:
    """The work under no_grad."""

    def run() -> None:
        with torch.no_grad():
            work()

    return run


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--n-classes", type=int, default=100)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", message=".*RANDOM weights.*")
    warnings.filterwarnings("ignore", message="no QP solver")

    backbone = create_backbone(args.backbone, weights="random")
    images = torch.rand(args.batch, 3, backbone.image_size, backbone.image_size)
    labels = torch.randint(0, args.n_classes, (args.batch,))
    mvp, probe = (
        kind(backbone=backbone, n_classes=args.n_classes, evaluator=None, device="cpu") for kind in (MVP, LinearProbe)
    )
    for strategy in (mvp, probe):
        strategy.model.see(torch.arange(args.n_classes))
    unit_head = torch.nn.Linear(backbone.dim, args.n_classes)
    unit_optimizer = torch.optim.Adam(unit_head.parameters(), lr=5e-3)

    def unit() -> None:
        with torch.no_grad():
            features = backbone.vit.forward_features(images)[:, 0]
        unit_optimizer.zero_grad()
        F.cross_entropy(unit_head(features), labels).backward()
        unit_optimizer.step()

    queries, features = mvp.model.frozen_part(images), probe.model.frozen_part(images)
    contenders = {
        "MVP training step": training_step(mvp, images, labels),
        "MVP inference": without_gradient(lambda: mvp.model.run(images)),
        "MVP inference, stored queries": without_gradient(lambda: mvp.model.run(images, queries)),
        "linear probe training step": training_step(probe, images, labels),
        "linear probe inference": without_gradient(lambda: probe.model.run(images)),
        "linear probe inference, stored features": without_gradient(lambda: probe.model.run(None, features)),
    }
    print(
        f"{args.backbone}, {backbone.image_size} px, batch {args.batch}, fp32, {args.threads} threads, torch {torch.__version__}"
    )
    ratios = measure(unit, contenders, args.rounds)
    print(f"{'':42} {'F':>6} {'spread':>14}  target")
    for name, values in ratios.items():
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{name:42} {statistics.median(values):6.2f} {spread:>14}  {TARGETS.get(name, '')}")


def measure(unit: Callable[[], None], contenders: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Ratios of process CPU time, contender to the units before and after it."""
    ratios: dict[str, list[float]] = {name: [] for name in contenders}
    unit()
    for work in contenders.values():
        work()  # warm up
    for _ in range(rounds):
        for name, work in contenders.items():
            before, mine, after = timed(unit), timed(work), timed(unit)
            ratios[name].append(2 * mine / (before + after))
    return ratios


def timed(work: Callable[[], None]) -> float:
    """CPU seconds of this process, which other processes on the machine disturb least."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()

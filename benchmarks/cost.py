"""Cost of each method as a ratio to one frozen forward of the same ViT (the unit F).

    python benchmarks/cost.py [--backbone vit_base_patch16_224] [--batch 8] [--rounds 5] [--threads
    N] [--only mvp l2p lanes]

Contenders and the unit alternate in one process, so that a busy machine slows both; the number is
the median over rounds of contender time / unit time. Random weights: cost does not depend on them.
The unit is timm's own forward with fused attention under no_grad plus a linear-head step.

A training step is a strategy's own loop over two batches, divided by two, with one update a batch;
methods with a replay memory get half of each batch from it; joint trains as fine_tuning does.
Inference is a forward in evaluation; "kept": with what the evaluation keeps from one time to the
next (queries, features, logits of finished lanes). "lanes": MULTI-LANE at several numbers of lanes,
with S = P = 20, 5 prompted blocks and 80 classes, fused and as the formulas stand.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.scenarios import class_incremental_benchmark
from cl_prompts.strategies import STRATEGIES, strategy_class

Work = Callable[[], object]
N_CLASSES = 8
METHODS: dict[str, dict[str, Any]] = {name: {} for name in STRATEGIES if name != "joint"}
METHODS["multi_lane"] = {"multi_label": False}
METHODS["coda_prompt"] = {"n_components": 100}
METHODS["ranpac"] = {"projection": 2000}
REPLAY = ("er", "derpp", "ewcpp", "rainbow", "clib")
#: method -> (training step, inference, inference with what is kept) that are asked for
TARGETS = {
    "mvp": (2.75, 1.95, 0.95),
    "l2p": (3.1, 1.95, 1.0),
    "dual_prompt": (2.8, 1.95, 1.0),
    "coda_prompt": (2.8, 1.95, 1.0),
    **dict.fromkeys(("linear_probe", "ncm", "slda", "ranpac"), (0.95, 0.95, 0.05)),
}
LANES = {1: 0.90, 5: 1.00, 10: 1.14, 20: 1.42}
LANE_STEP = 1.24


class Pictures(Dataset[tuple[Tensor, int]]):
    """Random images, every class equally often."""

    def __init__(self, n: int, side: int) -> None:
        self.images, self.targets = torch.rand(n, 3, side, side), [i % N_CLASSES for i in range(n)]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def strategy_work(
    name: str, backbone: FrozenViT, batch: int
) -> dict[str, tuple[Work, float, float | None]]:
    """Label -> (work, how many steps it holds, what is asked for)."""
    options = dict(METHODS[name])
    stream = batch // 2 if name in REPLAY else batch
    if name in REPLAY:
        options |= {"buffer_size": 4 * batch, "buffer_batch_size": batch - stream}
    torch.manual_seed(0)
    strategy = strategy_class(name)(
        backbone=backbone,
        n_classes=N_CLASSES,
        evaluator=None,
        device="cpu",
        boundaries=False,
        train_mb_size=stream,
        train_epochs=1,
        online_iter=1,
        **options,
    )  # type: ignore[call-arg]
    data = Pictures(2 * stream, backbone.image_size)
    (experience,) = class_incremental_benchmark(data, data, n_tasks=1).train_stream
    for _ in range(4):  # fills the memory
        strategy.train(experience, eval_streams=[])
    model, images = (
        strategy.model.eval(),
        torch.rand(batch, 3, backbone.image_size, backbone.image_size),
    )
    with torch.no_grad():
        kept = model.run(images).kept
    step, plain, stored = TARGETS.get(name, (None, None, None))
    # CLIB trains on its memory alone, so its steps are half as large.
    steps = 1.0 if name == "clib" else 2.0
    work: dict[str, tuple[Work, float, float | None]] = {
        f"{name}: training step": (
            lambda: strategy.train(experience, eval_streams=[]),
            steps,
            step,
        ),
        f"{name}: inference": (without_gradient(model, lambda: model.run(images)), 1, plain),
    }
    if kept:
        there = None if not model.needs_images(kept) else images
        work[f"{name}: inference, kept"] = (
            without_gradient(model, lambda: model.run(there, kept)),
            1,
            stored,
        )
    return work


def lane_work(backbone: FrozenViT, batch: int) -> dict[str, tuple[Work, float, float | None]]:
    """MULTI-LANE at several numbers of lanes, fused and literal."""
    images = torch.rand(batch, 3, backbone.image_size, backbone.image_size)
    targets = torch.randint(0, 2, (batch, 80))

    def lanes(n: int, impl: str) -> MultiLaneViT:
        model = MultiLaneViT(backbone, 80, impl=impl)
        for i in range(n):
            model.open_lane(range(i * 80 // n, (i + 1) * 80 // n))
        return model

    def training(model: MultiLaneViT) -> Work:
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        columns = model.columns()
        model.train()

        def step() -> None:
            optimizer.zero_grad()
            multi_label_loss(model.run(images).logits, targets, columns).backward()
            optimizer.step()

        return step

    work: dict[str, tuple[Work, float, float | None]] = {}
    for impl in ("fused", "literal"):
        for n, asked in LANES.items():
            model = lanes(n, impl).eval()
            run = without_gradient(model, lambda model=model: model.run(images))
            work[f"lanes, {impl}: inference, T={n}"] = (run, 1, asked if impl == "fused" else None)
        work[f"lanes, {impl}: training step"] = (
            training(lanes(8, impl)),
            1,
            LANE_STEP if impl == "fused" else None,
        )
    return work


def without_gradient(model: torch.nn.Module, work: Work) -> Work:
    """The work under no_grad, in evaluation mode."""

    def run() -> None:
        model.eval()
        with torch.no_grad():
            work()

    return run


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--only", nargs="+", choices=[*METHODS, "lanes"], default=[*METHODS, "lanes"]
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for message in (".*RANDOM weights.*", "no QP solver"):
        warnings.filterwarnings("ignore", message=message)

    backbone = create_backbone(args.backbone, weights="random")
    images = torch.rand(args.batch, 3, backbone.image_size, backbone.image_size)
    labels = torch.randint(0, N_CLASSES, (args.batch,))
    unit_head = torch.nn.Linear(backbone.dim, N_CLASSES)
    unit_optimizer = torch.optim.Adam(unit_head.parameters(), lr=5e-3)

    def unit() -> None:
        with torch.no_grad():
            features = backbone.vit.forward_features(images)[:, 0]
        unit_optimizer.zero_grad()
        F.cross_entropy(unit_head(features), labels).backward()
        unit_optimizer.step()

    print(
        f"{args.backbone}, {backbone.image_size} px, batch {args.batch}, fp32, {args.threads}"
        f" threads, torch {torch.__version__}"
    )
    print(f"{'':42} {'F':>6} {'spread':>14}  asked")
    for name in args.only:
        found = (
            lane_work(backbone, args.batch)
            if name == "lanes"
            else strategy_work(name, backbone, args.batch)
        )
        for label, (work, steps, asked) in found.items():
            ratios = [r / steps for r in measure(unit, work, args.rounds)]
            spread = f"{min(ratios):.2f} to {max(ratios):.2f}"
            print(
                f"{label:42} {statistics.median(ratios):6.2f} {spread:>14}  {asked or ''}",
                flush=True,
            )


def measure(unit: Work, work: Work, rounds: int) -> list[float]:
    """Ratios of process CPU time, the work to the units before and after it."""
    unit()
    work()  # warm up
    ratios = []
    for _ in range(rounds):
        before, mine, after = timed(unit), timed(work), timed(unit)
        ratios.append(2 * mine / (before + after))
    return ratios


def timed(work: Work) -> float:
    """CPU seconds of this process, which other processes on the machine disturb least."""
    start = time.process_time()
    work()
    return time.process_time() - start


if __name__ == "__main__":
    main()

"""Growth of time and memory with the size of a problem.

    python benchmarks/scale.py [--axis tasks=10,100,1000 ...] [--rounds 3] [--json FILE] [--plot
    FILE]

Each axis increases one size. Given sizes replace the defaults, which take a few minutes on two
cores. Every point is measured in its own process on one thread: the least CPU seconds over rounds,
and the peak memory beyond that of the imports. The exponent is the slope between the sizes of the
upper half, on logarithmic axes: 1 is linear growth, and a constant part of the cost makes it
smaller.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils.data import Dataset

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.scenarios import class_incremental_benchmark, si_blurry_split
from cl_prompts.strategies import MVP, AnytimeEvaluation, LinearProbe
from cl_prompts.training.buffers import ClassBalancedBuffer

Work = Callable[[], object]
SAMPLES = 2048
MIB = 2**20


class Tiny(Dataset[tuple[Tensor, int]]):
    """Any number of images out of a few, every class equally often."""

    def __init__(self, n: int, n_classes: int) -> None:
        self.images = torch.rand(64, 3, 16, 16)
        self.targets = np.arange(n) % n_classes

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index % len(self.images)], int(self.targets[index])


def tiny_vit(depth: int = 2) -> FrozenViT:
    """A frozen ViT whose passes cost next to nothing."""
    vit = VisionTransformer(
        img_size=16, patch_size=8, embed_dim=32, depth=depth, num_heads=2, num_classes=0
    )
    return FrozenViT(vit)


def run(n: int, *, tasks: int = 4, classes: int = 8, test: int = 64, every: int | None) -> Work:
    """A linear probe on a stream of n images, with its evaluations."""
    data = Tiny(n, classes)
    images = Tiny(max(test, classes), classes)
    anytime = AnytimeEvaluation(images, n_classes=classes, every=every)
    probe = LinearProbe(
        backbone=tiny_vit(),
        n_classes=classes,
        online_iter=1,
        evaluator=None,
        plugins=[anytime],
        device="cpu",
    )

    def work() -> None:
        bench = class_incremental_benchmark(data, images, n_tasks=tasks)
        for experience in bench.train_stream:
            probe.train(experience, eval_streams=[])
        assert anytime.results

    return work


def stream(n: int) -> Work:
    """A run over n samples, with ten evaluations on the way."""
    return run(n, every=max(1, n // 10))


def labels(n: int) -> Work:
    """The split of n labels into a Si-Blurry stream."""
    targets = np.arange(n) % 100
    return lambda: si_blurry_split(targets, n_tasks=5)


def classes(n: int) -> Work:
    """A run over n classes, with ten thousand samples and as many test images."""
    n_images = max(10_000, n)
    return run(n_images, classes=n, test=n_images, every=None)


def tasks(n: int) -> Work:
    """A run over n tasks, a divisor of a thousand, which is the number of classes; an evaluation
    after each."""
    n_classes = max(1000, n)
    n_images = max(SAMPLES, n_classes)
    return run(n_images, tasks=n, classes=n_classes, test=n_images, every=None)


def buffer(n: int) -> Work:
    """A thousand samples into a full class-balanced buffer of n slots, and a hundred draws."""
    held = ClassBalancedBuffer(n)
    held.add(torch.arange(n)[:, None], torch.arange(n) % 100)

    def work() -> None:
        for start in range(0, 1000, 10):
            held.add(torch.arange(start, start + 10)[:, None], torch.arange(10))
            held.draw(32)

    return work


def pool(n: int) -> Work:
    """Twenty updates of MVP with a pool of n prompts."""
    data = Tiny(320, 8)
    mvp = MVP(
        backbone=tiny_vit(depth=5),
        n_classes=8,
        pool_size=n,
        online_iter=1,
        train_mb_size=16,
        evaluator=None,
        device="cpu",
    )
    (experience,) = class_incremental_benchmark(data, data, n_tasks=1).train_stream
    return lambda: mvp.train(experience, eval_streams=[])


def lanes(n: int) -> Work:
    """256 test images through n lanes of MULTI-LANE."""
    model = MultiLaneViT(tiny_vit(), n, prompted_blocks=(0,)).eval()
    for lane in range(n):
        model.open_lane([lane])
    images = torch.rand(256, 3, 16, 16)

    def work() -> None:
        with torch.no_grad():
            model(images)

    return work


def test_images(n: int) -> Work:
    """A short run with five evaluations on n test images."""
    return run(64, test=n, every=None)


class Axis(NamedTuple):
    """What grows: the work at a size, and the sizes."""

    work: Callable[[int], Work]
    sizes: Sequence[int]


AXES = {
    "stream": Axis(stream, (1000, 4000, 16000)),
    "labels": Axis(labels, (10_000, 100_000, 1_000_000)),
    "classes": Axis(classes, (100, 1000, 4000)),
    "tasks": Axis(tasks, (10, 50, 200)),
    "buffer": Axis(buffer, (1000, 10_000, 100_000)),
    "pool": Axis(pool, (10, 100, 1000)),
    "lanes": Axis(lanes, (1, 10, 100)),
    "test images": Axis(test_images, (1000, 4000, 16000)),
}


def measure(work: Callable[[int], Work], n: int, rounds: int) -> tuple[float, float]:
    """CPU seconds and MiB of the work at one size, least of the rounds."""
    context = multiprocessing.get_context("fork")
    found = []
    for _ in range(rounds):
        here, there = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(work, n, there))
        process.start()
        there.close()
        found.append(here.recv())  # EOFError if the work failed: its traceback was printed
        process.join()
    seconds, memory = zip(*found, strict=True)
    return min(seconds), min(memory)


def _child(work: Callable[[int], Work], n: int, answer: Any) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    before = _resident()
    ready = work(n)
    start = time.process_time()
    ready()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    answer.send((seconds, max(0, peak - before) / MIB))


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def exponent(sizes: Sequence[int], values: Sequence[float]) -> float:
    """Slope of the values over the sizes of the upper half, on logarithmic axes; NaN for one size,
    or without values."""
    pairs = list(zip(sizes, values, strict=True))[-max(2, -(-len(sizes) // 2)) :]
    if len(pairs) < 2 or min(value for _, value in pairs) <= 0:
        return math.nan
    x, y = np.log(np.array(pairs, dtype=float)).T
    return float(np.polyfit(x, y, 1)[0])


def row(name: str, sizes: Sequence[int], points: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """One axis, as it is printed and stored."""
    seconds, mib = (list(values) for values in zip(*points, strict=True))
    return {
        "axis": name,
        "sizes": list(sizes),
        "seconds": seconds,
        "mib": mib,
        "time exponent": exponent(sizes, seconds),
        "memory exponent": exponent(sizes, mib),
    }


def line(found: dict[str, Any]) -> str:
    """A row of the table in docs/records/performance.md."""
    cells = [
        found["axis"],
        ", ".join(f"{n:,}" for n in found["sizes"]),
        ", ".join(f"{s:.3g}" for s in found["seconds"]),
        f"{found['time exponent']:.2f}",
        ", ".join(f"{m:.0f}" for m in found["mib"]),
        f"{found['memory exponent']:.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Draw time and memory over size, both logarithmic."""
    import matplotlib.pyplot as plt  # only where a picture is asked for

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for ax, name in zip(axes, ("seconds", "mib"), strict=True):
        for found in rows:
            ax.loglog(found["sizes"], found[name], marker="o", label=found["axis"])
        ax.set(xlabel="size", ylabel={"seconds": "CPU seconds", "mib": "MiB"}[name])
    axes[1].legend(fontsize=8)
    figure.savefig(file, dpi=120)


def axis(text: str) -> tuple[str, list[int]]:
    """``name=10,100`` -> its name and sizes; the defaults without ``=``."""
    name, _, sizes = text.partition("=")
    if name not in AXES:
        raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(AXES)}")
    return name, sorted(int(n) for n in sizes.split(",")) if sizes else list(AXES[name].sizes)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--axis", type=axis, action="append", help="NAME or NAME=SIZE,...")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore", message="no QP solver")
    print(f"load {os.getloadavg()[0]:.1f}, torch {torch.__version__}, {args.rounds} rounds")
    print("| axis | sizes | CPU seconds | exponent | MiB | exponent |")
    print("| --- | --- | --- | --- | --- | --- |")
    rows = []
    for name, sizes in args.axis or [axis(name) for name in AXES]:
        points = [measure(AXES[name].work, n, args.rounds) for n in sizes]
        rows.append(row(name, sizes, points))
        print(line(rows[-1]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()

"""Estimate a GPU's images per second from counted work, without measuring.

    python benchmarks/estimate.py --peak 312 [--utilisation 0.4] [--backbone vit_base_patch16_224]
    [--batch 4] [--only mvp l2p] [--json FILE]

It counts the multiply-accumulates per image of a training step, an inference and a cached
inference on the CPU. Two floating-point operations each are divided by the GPU's throughput:
``--peak``, the data sheet's dense TFLOP/s at the precision of the run, times ``--utilisation``, the
share that a ViT reaches. Image loading, kernel launches and memory traffic are not included. A much
lower measurement (``make bench DEVICE=cuda``) means that the GPU waits for something.

Beside it, of a training step: the batch whose arithmetic takes as long as the launches of its
kernels (benchmarks/launches.py) at ``--launch`` microseconds each, below which the GPU waits for
the processor; what images of 8 bits take of the bus; and the loader processes that make so many
views at ``--view`` milliseconds.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from contenders import METHODS, contenders, counted
from launches import launches, narrow_vit

from cl_prompts.backbones.weights import create_backbone

SHOWN = ["linear_probe", "mvp", "l2p", "dual_prompt", "coda_prompt", "multi_lane"]
KINDS = ("training step", "inference", "inference, cached")


def images_per_second(macs: float, peak: float, utilisation: float) -> float:
    """Images a second where each takes ``macs`` multiply-accumulates, on a GPU of ``peak`` TFLOP/s
    of which a share is reached."""
    return peak * 1e12 * utilisation / (2 * macs)


def rows(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """A row for each method: counted forwards, and images a second, of each kind of work."""
    backbone = create_backbone(args.backbone, weights="random")
    for name in args.only:
        row: dict[str, Any] = {"method": name}
        for label, work in contenders(name, backbone, args.batch).items():
            work.run()
            forwards = counted(work, backbone, args.batch)
            macs = forwards * backbone.forward_macs
            # The head of cached features costs next to nothing: reading them is all.
            rate = images_per_second(macs, args.peak, args.utilisation) if forwards > 0.01 else None
            row[label.partition(": ")[2]] = {"F": forwards, "images per second": rate}
        row["training step"] |= demands(row["training step"]["images per second"], name, args)
        yield row


def demands(rate: float | None, name: str, args: argparse.Namespace) -> dict[str, float]:
    """What a training step at so many images a second asks of the rest of the machine."""
    if rate is None:
        return {}
    kernels = launches(name, narrow_vit())["kernels"]
    return {
        "kernels": kernels,
        "batch": rate * kernels * args.launch * 1e-6,
        "bytes per second": rate * 3 * args.pixels**2,
        "loaders": rate * args.view * 1e-3,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    cells = [row["method"]]
    for kind in KINDS:
        found = row.get(kind)
        rate = None if found is None else found["images per second"]
        cells += ["-" if found is None else f"{found['F']:.2f}"]
        cells += ["-" if rate is None else f"{rate:,.0f}"]
    step = row["training step"]
    units = {"kernels": 1, "batch": 1, "bytes per second": 1e-6, "loaders": 1}
    cells += [f"{step[key] * unit:,.0f}" if key in step else "-" for key, unit in units.items()]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Count and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--peak", type=float, required=True, help="dense TFLOP/s")
    parser.add_argument("--utilisation", type=float, default=0.4, help="share of the peak")
    parser.add_argument("--backbone", default="vit_base_patch16_224")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--only", nargs="+", choices=[*METHODS], default=SHOWN)
    parser.add_argument("--launch", type=float, default=7.0, help="microseconds of a launch")
    parser.add_argument("--view", type=float, default=0.6, help="milliseconds of a loader's view")
    parser.add_argument("--pixels", type=int, default=224, help="side of the images")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.peak <= 0 or not 0 < args.utilisation <= 1:
        parser.error("--peak must be positive, and --utilisation a share of 1")
    for message in (".*RANDOM weights.*", "class_mask"):
        warnings.filterwarnings("ignore", message=message)
    print(f"estimated, not measured: {args.utilisation:g} of {args.peak:g} TFLOP/s")
    print(f"{args.backbone}, torch {torch.__version__}")
    print(
        "| method | F a training image | images/s | F a test image | images/s | cached | images/s |"
        " kernels a step | break-even batch | MB/s | loader processes |"
    )
    print("|" + " --- |" * 11)
    found = []
    for row in rows(args):
        found.append(row)
        print(line(row), flush=True)
    if args.json:
        content = {"peak": args.peak, "utilisation": args.utilisation, "rows": found}
        args.json.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()

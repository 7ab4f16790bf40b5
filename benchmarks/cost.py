"""Cost of each method as a ratio to one frozen forward of the same ViT (the unit F).

    python benchmarks/cost.py [--backbone vit_base_patch16_224 ...] [--batch 8] [--rounds 7]
    [--threads N] [--device cuda] [--precision bf16] [--only mvp l2p lanes] [--json FILE] [--against
    REVISION]

Unit and contender alternate strictly, unit first and last, so that a busy machine slows both; a
ratio is one contender's time to the mean of the units before and after it, and the table has the
median over rounds and the range. Time is CPU time; on a GPU, wall time until its queue is empty.
"MiB" is what a training step saves for its backward pass. "@half" means ``tokens=0.5``, and
"@early" ``query_block=3`` too.
"counted" is the cost in multiply-accumulates, "of it" the measured over the counted one. Weights
are random, since cost does not depend on them. The unit is in fp32 whatever the precision of the
contenders; with tf32 both round the factors of their products. The last line is the unit in images
a second.

A training step is a strategy's own loop over two batches, divided by two, with one update a batch;
methods with a replay memory get half of each batch from it. "cached": inference with what the
evaluation keeps from one time to the next (queries, features, logits of finished lanes). "lanes":
MULTI-LANE at several numbers of lanes, with S = P = 20, 5 prompted blocks and 80 classes.

Each of several backbones has its own table and its own unit. An ``Eva`` (DINOv3) and a plain ViT
without a class token beside one with it:

    python benchmarks/cost.py --only mvp recommended --backbone vit_base_patch16_224
    vit_base_patch16_gap_224 vit_base_patch16_dinov3

A mean patch token needs all patch tokens of the last block, where a class token needs one: 5 to 7
% of F in each pass that reads a feature. Counted floors are in docs/guides/backbones.md.

With ``--against`` the package of another revision runs beside this one's: unit, this, unit, that,
in two processes of which one waits for the other. "ratio" is then this over that.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from contenders import METHODS, Contender, contenders, counted, saved_of, unit

from cl_prompts.backbones.devices import pick_device
from cl_prompts.backbones.weights import create_backbone

UNIT = "unit"
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile", "amx_bf16", "amx_int8")


class Bench(Protocol):
    """A revision of the package, in some process."""

    def prepare(self, name: str) -> list[str]:
        """Make a method's contenders ready and run each once; their labels."""
        ...

    def time(self, label: str) -> float:
        """CPU seconds of a step of a contender, or of the unit."""
        ...

    def count(self, label: str) -> float:
        """Counted cost of a step, in F."""
        ...

    def save(self, label: str) -> float:
        """MiB that a step saves for its backward pass."""
        ...


class Here:
    """The package as this process imports it.

    Args:
        args: of the command line.
        backbone: its name in timm.
    """

    def __init__(self, args: argparse.Namespace, backbone: str) -> None:
        torch.set_num_threads(args.threads)
        torch.set_float32_matmul_precision("high" if args.precision == "tf32" else "highest")
        self.device = pick_device(args.device)
        plain = create_backbone(backbone, weights="random").to(self.device)
        self.backbone = plain
        if args.precision == "bf16":
            self.backbone = create_backbone(
                backbone, weights="random", precision=args.precision
            ).to(self.device)
        self.batch = args.batch
        self.unit = Contender(unit(plain, args.batch))
        self.unit.run()
        self.work: dict[str, Contender] = {}
        self.units: list[float] = []

    def prepare(self, name: str) -> list[str]:
        """See :class:`Bench`."""
        self.work = contenders(name, self.backbone, self.batch)
        for contender in self.work.values():
            contender.run()
        return list(self.work)

    def time(self, label: str) -> float:
        """CPU seconds of this process, which others on the machine disturb least; on a GPU seconds
        until it has nothing left to do."""
        contender = self.unit if label == UNIT else self.work[label]
        start = self._now()
        contender.run()
        seconds = (self._now() - start) / contender.steps
        if label == UNIT:
            self.units.append(seconds)
        return seconds

    def _now(self) -> float:
        if self.device.type == "cpu":
            return time.process_time()
        (torch.mps if self.device.type == "mps" else torch.cuda).synchronize()
        return time.perf_counter()

    def images_per_second(self) -> float:
        """Of the unit, in the median of all its rounds."""
        return self.batch / statistics.median(self.units)

    def count(self, label: str) -> float:
        """See :class:`Bench`."""
        return counted(self.work[label], self.backbone, self.batch)

    def save(self, label: str) -> float:
        """See :class:`Bench`."""
        return saved_of(self.work[label].run, self.backbone)


class There:
    """The package in another folder, in a process that answers requests.

    Args:
        folder: a checkout.
        arguments: of this process's command line.
    """

    def __init__(self, folder: Path, arguments: list[str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", __file__, *arguments, "--serve"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(folder)},
        )

    def _ask(self, *request: str) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit("the other revision failed: its error stands above")
        return json.loads(answer)

    def prepare(self, name: str) -> list[str]:
        """See :class:`Bench`."""
        return list(self._ask("prepare", name))

    def time(self, label: str) -> float:
        """See :class:`Bench`."""
        return float(self._ask("time", label))

    def count(self, label: str) -> float:
        """See :class:`Bench`."""
        return float(self._ask("count", label))

    def save(self, label: str) -> float:
        """See :class:`Bench`."""
        return float(self._ask("save", label))

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def serve(bench: Bench) -> None:
    """Answer the requests of :class:`There`."""
    for line in sys.stdin:
        action, argument = json.loads(line)
        print(json.dumps(getattr(bench, action)(argument)), flush=True)


def alternate(bench: Bench, others: list[Bench], label: str, rounds: int) -> list[list[float]]:
    """Ratios to the unit, for each round those of the bench and of the others; the unit is the
    bench's own."""
    before = bench.time(UNIT)
    found = []
    for _ in range(rounds):
        ratios = []
        for contender in (bench, *others):
            mine = contender.time(label)
            after = bench.time(UNIT)
            ratios.append(2 * mine / (before + after))
            before = after
        found.append(ratios)
    return found


def summary(values: list[float]) -> dict[str, float]:
    """Median and range."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def rows(
    bench: Bench, others: list[Bench], names: list[str], rounds: int
) -> Iterator[dict[str, Any]]:
    """The rows of the table, one for each contender."""
    for name in names:
        labels = bench.prepare(name)
        known = [set(other.prepare(name)) for other in others]
        for label in labels:
            asked = [o for o, theirs in zip(others, known, strict=True) if label in theirs]
            found = alternate(bench, asked, label, rounds)
            macs = bench.count(label)
            row = {"label": label, "counted": macs, **summary([first for first, *_ in found])}
            # Of next to nothing every ratio is large.
            row["of counted"] = row["median"] / macs if macs > 0.01 else None
            row["MiB"] = bench.save(label) if label.endswith("step") else 0.0
            if asked:
                row["against"] = summary([theirs for _, theirs in found])
                row["ratio"] = summary([mine / theirs for mine, theirs in found])
            yield row


def line(row: dict[str, Any]) -> str:
    """A row as it is printed."""
    of = row["of counted"]
    text = f"{row['label']:42} {_range(row)} {row['counted']:8.2f} "
    text += 6 * " " if of is None else f"{of:6.2f}"
    text += f" {row['MiB']:6.0f}"
    return f"{text} {_range(row['against'])} {_range(row['ratio'])}" if "ratio" in row else text


def _range(found: dict[str, float]) -> str:
    spread = f"{found['least']:.2f} to {found['most']:.2f}"
    return f"{found['median']:6.2f} {spread:>14}"


def machine(args: argparse.Namespace) -> dict[str, Any]:
    """What the numbers depend on."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    values = dict(part.split(":", 1) for part in reversed(lines) if ":" in part)
    described = {key.strip(): value.strip() for key, value in values.items()}
    flags = described.get("flags", "").split()
    return {
        "processor": described.get("model name", platform.processor()),
        "flags": [flag for flag in FLAGS if flag in flags],
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if args.device.startswith("cuda") else None,
        "threads": args.threads,
        "torch": torch.__version__,
        "load": os.getloadavg()[0],
    }


@contextmanager
def opponents(revision: str | None, backbone: str) -> Iterator[list[Bench]]:
    """Another revision's package, as long as this lasts; nothing without one."""
    if revision is None:
        yield []
        return
    here = Path(__file__).parents[1]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "revision"
        git = ["git", "-C", str(here), "worktree"]
        subprocess.run([*git, "add", "--detach", str(tree), revision], check=True)
        try:
            there = There(tree, [*sys.argv[1:], "--backbone", backbone])
            try:
                yield [there]
            finally:
                there.close()
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--backbone", nargs="+", default=["vit_base_patch16_224"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["fp32", "tf32", "bf16"], default="fp32")
    everything = [*METHODS, "lanes"]
    parser.add_argument("--only", nargs="+", choices=everything, default=everything)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", metavar="REVISION")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    """Measure and print a table for each backbone."""
    args = arguments()
    for message in (".*RANDOM weights.*", "class_mask"):
        warnings.filterwarnings("ignore", message=message)
    if args.serve:
        serve(Here(args, args.backbone[0]))
        return
    tables = [measured(args, backbone) for backbone in args.backbone]
    if args.json:
        content = tables[0] if len(tables) == 1 else tables
        args.json.write_text(json.dumps(content, indent=1) + "\n")


def measured(args: argparse.Namespace, backbone: str) -> dict[str, Any]:
    """Measure and print the table of a backbone."""
    here = Here(args, backbone)
    header = {
        "backbone": backbone,
        "batch": args.batch,
        "device": args.device,
        "precision": args.precision,
        "rounds": args.rounds,
        "against": args.against,
        **machine(args),
    }
    print(", ".join(f"{name} {value}" for name, value in header.items()))
    print(f"{'':42} {'F':>6} {'range':>14} {'counted':>8} of it    MiB")
    found = []
    with opponents(args.against, backbone) as others:
        for row in rows(here, others, args.only, args.rounds):
            found.append(row)
            print(line(row), flush=True)
    rate = here.images_per_second()
    print(f"the unit: {rate:,.1f} images/s; a row: this over its ratio F")
    return {**header, "images per second": rate, "rows": found}


if __name__ == "__main__":
    main()

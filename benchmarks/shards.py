"""Speed, memory and exactness of a stream of stored features, divided into shards.

    python benchmarks/shards.py 100000 1000000 10000000 --workers 1 2

Synthetic features of width 384 in 100 classes as float16, 50 evaluations on 10,000 test features,
``recommended``'s classifier. Only the workers and the reducer are timed. Prints samples a second of
the workers, seconds of the reducer, peak memory of both, and the largest relative difference to the
sums of one process. The stream is written to ``--folder`` first, 768 bytes a sample.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from cl_prompts.backbones.devices import peak_memory
from cl_prompts.closed_form.pooled_ridge import PooledRidge
from cl_prompts.closed_form.sums import sums_of, zero
from cl_prompts.datasets.stored_features import StoredFeatures

WIDTH, CLASSES, POINTS, PIECE, BATCH, TEST = 384, 100, 50, 2**16, 1024, 10_000


def write_piece(folder: Path, start: int, end: int, n: int) -> None:
    """Write features and labels of some rows of a stream of n; classes appear over the stream."""
    means = np.random.default_rng(0).standard_normal((CLASSES, WIDTH), dtype=np.float32)
    draws = np.random.default_rng((start, end, n))
    rows = np.arange(start, end)
    labels = draws.integers(0, 1 + rows * CLASSES // n).astype(np.uint8)
    features = draws.standard_normal((len(rows), WIDTH), dtype=np.float32)
    features += means[labels]
    np.save(folder / f"{start:012d}.npy", features.astype(np.float16))
    np.save(folder / f"{start:012d}.labels.npy", labels)


def read_stream(folder: Path) -> tuple[StoredFeatures, np.ndarray]:
    """Map features, and read labels, a byte each."""
    files = [f for f in sorted(folder.glob("*.npy")) if "labels" not in f.name]
    labels = [np.load(f.with_suffix(".labels.npy")) for f in files]
    return StoredFeatures([partial(mapped, f) for f in files]), np.concatenate(labels)


def mapped(file: Path) -> torch.Tensor:
    """Map a piece."""
    return torch.from_numpy(np.load(file, mmap_mode="c"))


def classifier() -> PooledRidge:
    """Make the classifier."""
    return PooledRidge(WIDTH, CLASSES)


def peak() -> float:
    """Return the peak memory of this process, in MiB."""
    return float(peak_memory(torch.device("cpu"))["peak_memory_mb"] or 0)


def learn(head: PooledRidge, folder: Path, low: int, high: int) -> None:
    """Add some rows of the stream."""
    features, labels = read_stream(folder)
    for start in range(low, high, BATCH):
        rows = np.arange(start, min(start + BATCH, high))
        head.update(features.batch(rows), torch.from_numpy(labels[rows].astype(np.int64)))


def work(folder: Path, n: int, shard: int, shards: int) -> tuple[float, float]:
    """Write the sums of each interval of a shard; return seconds and peak memory."""
    start, head = time.perf_counter(), classifier()
    first, last = (n * k // shards for k in (shard, shard + 1))
    for number in range(POINTS):
        low, high = max(first, n * number // POINTS), min(last, n * (number + 1) // POINTS)
        if low < high:
            zero(head)
            learn(head, folder, low, high)
            name = f"sums-{shards}-{number:03d}-{shard:03d}.safetensors"
            save_file(head.state_dict(), folder / name)
    return time.perf_counter() - start, peak()


def reduce(folder: Path, shards: int) -> tuple[float, float, float]:
    """Add all intervals, solve and score at each point; return seconds, memory and accuracy."""
    start, right = time.perf_counter(), 0.0
    features, labels = read_stream(folder / "test")
    test, truth = features.batch(np.arange(TEST)), torch.from_numpy(labels.astype(np.int64))
    head, part = classifier(), classifier()
    for number in range(POINTS):
        for file in sorted(folder.glob(f"sums-{shards}-{number:03d}-*.safetensors")):
            part.load_state_dict(load_file(file))
            head.add(part)
        right = float((head(test).argmax(dim=1) == truth).float().mean())
    save_file(head.state_dict(), folder / f"whole-{shards}.safetensors")
    return time.perf_counter() - start, peak(), right


def single(folder: Path, n: int) -> float:
    """Write the sums of one pass without intervals; return the peak memory."""
    head = classifier()
    learn(head, folder, 0, n)
    save_file(head.state_dict(), folder / "single.safetensors")
    return peak()


def difference(folder: Path, shards: int) -> float:
    """Return the largest difference to one pass, relative to the largest entry of each sum."""
    one, other = (load_file(folder / f"{n}.safetensors") for n in ("single", f"whole-{shards}"))
    found = [(one[k] - other[k]).abs().max() / one[k].abs().max() for k in sums_of(classifier())]
    return float(torch.stack(found).max())


def apart(workers: int, function: Callable[..., Any], calls: list[tuple[Any, ...]]) -> list[Any]:
    """Call a function in fresh processes of one thread each."""
    context = get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        return list(pool.map(function, *zip(*calls, strict=True)))


def main() -> None:
    """Measure streams of the given sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--folder", help="parent of the temporary files")
    given = parser.parse_args()
    print("| samples | workers | samples/s | worker MiB | reducer s | reducer MiB | difference |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n in given.samples:
        with TemporaryDirectory(dir=given.folder) as name:
            folder = Path(name)
            (folder / "test").mkdir()
            parts = [(folder, i, min(i + PIECE, n), n) for i in range(0, n, PIECE)]
            parts.append((folder / "test", n, n + TEST, n + TEST))
            apart(max(given.workers), write_piece, parts)
            apart(1, single, [(folder, n)])
            for k in given.workers:
                found = apart(k, work, [(folder, n, shard, k) for shard in range(k)])
                ((seconds, memory, _),) = apart(1, reduce, [(folder, k)])
                rate, most = n / max(s for s, _ in found), max(m for _, m in found)
                print(
                    f"| {n:,} | {k} | {rate:,.0f} | {most:.0f} | {seconds:.1f} | {memory:.0f} |"
                    f" {difference(folder, k):.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

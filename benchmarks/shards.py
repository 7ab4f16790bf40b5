"""Speed, memory and exactness of a stream of stored features, divided into shards.

    python benchmarks/shards.py 100000 1000000 --workers 1 2

Synthetic features of width 384 in 100 classes as float16, 50 evaluations, ``recommended``'s
classifier. Prints samples a second of the workers, seconds of the reducer, peak memory of both, and
the largest relative difference to the sums of one pass. No images and no Avalanche take part.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from cl_prompts.backbones.devices import peak_memory
from cl_prompts.datasets.stored_features import StoredFeatures
from cl_prompts.models.pooled_ridge import PooledRidge
from cl_prompts.models.sums import sums_of, zero

WIDTH, CLASSES, POINTS, PIECE, BATCH = 384, 100, 50, 2**18, 4096


def write_stream(folder: Path, n: int) -> None:
    """Write features and labels in pieces; classes appear over the stream."""
    means = np.random.default_rng(0).standard_normal((CLASSES, WIDTH)).astype(np.float16)
    for start in range(0, n, PIECE):
        rows = np.arange(start, min(start + PIECE, n))
        draws = np.random.default_rng(start + 1)
        labels = draws.integers(0, 1 + rows * CLASSES // n)
        noise = draws.standard_normal((len(rows), WIDTH), dtype=np.float32).astype(np.float16)
        np.save(folder / f"{start:012d}.npy", means[labels] + noise)
        np.save(folder / f"{start:012d}.labels.npy", labels.astype(np.uint8))


def read_stream(folder: Path) -> tuple[StoredFeatures, np.ndarray]:
    """Map features, and read labels."""
    files = [f for f in sorted(folder.glob("*.npy")) if "labels" not in f.name]
    labels = [np.load(f.with_suffix(".labels.npy")) for f in files]
    return StoredFeatures([np.load(f, mmap_mode="r") for f in files]), np.concatenate(labels)


def classifier() -> PooledRidge:
    """Make the classifier."""
    return PooledRidge(WIDTH, CLASSES)


def peak() -> float:
    """Return the peak memory of this process, in MiB."""
    return float(peak_memory(torch.device("cpu"))["peak_memory_mb"] or 0)


def work(folder: Path, shard: int, shards: int) -> tuple[float, float]:
    """Write the sums of each interval of a shard; return seconds and peak memory."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    features, labels = read_stream(folder)
    n, head = len(features), classifier()
    first, last = (n * k // shards for k in (shard, shard + 1))
    bounds = [n * k // POINTS for k in range(POINTS + 1)]
    for number in range(POINTS):
        low, high = max(first, bounds[number]), min(last, bounds[number + 1])
        if low >= high:
            continue
        zero(head)
        for place in range(low, high, BATCH):
            rows = np.arange(place, min(place + BATCH, high))
            head.update(features.batch(rows), torch.from_numpy(labels[rows].astype(np.int64)))
        save_file(head.state_dict(), folder / f"sums-{shards}-{number:03d}-{shard:03d}.safetensors")
    return time.perf_counter() - start, peak()


def reduce(folder: Path, shards: int) -> tuple[float, float, float]:
    """Add all intervals, solve and score at each point; return seconds, memory and accuracy."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    features, labels = read_stream(folder)
    rows = np.linspace(0, len(features) - 1, 10_000).astype(np.int64)
    test, truth = features.batch(rows), torch.from_numpy(labels[rows].astype(np.int64))
    del features, labels
    head, part, right = classifier(), classifier(), 0.0
    for number in range(POINTS):
        for file in sorted(folder.glob(f"sums-{shards}-{number:03d}-*.safetensors")):
            part.load_state_dict(load_file(file))
            head.add(part)
        right = float((head(test).argmax(dim=1) == truth).float().mean())
    save_file(head.state_dict(), folder / f"whole-{shards}.safetensors")
    return time.perf_counter() - start, peak(), right


def single(folder: Path) -> None:
    """Write the sums of one pass without intervals."""
    torch.set_num_threads(1)
    features, labels = read_stream(folder)
    head = classifier()
    for place in range(0, len(features), BATCH):
        rows = np.arange(place, min(place + BATCH, len(features)))
        head.update(features.batch(rows), torch.from_numpy(labels[rows].astype(np.int64)))
    save_file(head.state_dict(), folder / "single.safetensors")


def difference(folder: Path, shards: int) -> float:
    """Return the largest difference to one pass, relative to the largest entry of each sum."""
    one, other = (load_file(folder / f"{n}.safetensors") for n in ("single", f"whole-{shards}"))
    found = [(one[k] - other[k]).abs().max() / one[k].abs().max() for k in sums_of(classifier())]
    return float(torch.stack(found).max())


def main() -> None:
    """Measure streams of the given sizes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("samples", type=int, nargs="*", default=[10**5, 10**6, 10**7])
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    given = parser.parse_args()
    print("| samples | workers | samples/s | worker MiB | reducer s | reducer MiB | difference |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    for n in given.samples:
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_stream(folder, n)
            apart = {"max_workers": 1, "mp_context": get_context("spawn")}
            with ProcessPoolExecutor(**apart) as pool:  # type: ignore[arg-type]
                pool.submit(single, folder).result()
            for k in given.workers:
                with ProcessPoolExecutor(k, get_context("spawn")) as pool:
                    found = list(pool.map(work, [folder] * k, range(k), [k] * k))
                with ProcessPoolExecutor(**apart) as pool:  # type: ignore[arg-type]
                    seconds, memory, _ = pool.submit(reduce, folder, k).result()
                rate, most = n / max(s for s, _ in found), max(m for _, m in found)
                print(
                    f"| {n:,} | {k} | {rate:,.0f} | {most:.0f} | {seconds:.1f} | {memory:.0f} |"
                    f" {difference(folder, k):.0e} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()

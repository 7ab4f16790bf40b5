"""Random views a second: image by image, and in batches (``dataset.augment_on``).

    python benchmarks/views.py [--sizes 98 224] [--batch 32] [--rounds 9] [--device cpu]
    [--only cifar100 random_area] [--json FILE]

Images of 32 x 32 pixels in memory become float batches on the device. "torchvision" is its chain of
transforms on a private generator, "loader" this package's image by image; of "device" the first
number is what is left to the loader, the second what is done to the whole batch after its transfer,
and the third both one after the other. Contenders alternate, and the table has the median over
rounds. Time is CPU time of one thread; what runs on a GPU is wall time until its queue is empty.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from cl_prompts.datasets.batched_views import BatchedTransform
from cl_prompts.datasets.catalog import DATASETS
from cl_prompts.datasets.keyed import KeyedTransform
from cl_prompts.datasets.transforms import Augmentation, PrivateRandom
from cl_prompts.datasets.views import collated, deferring_views, viewing

KINDS = {
    "digits": DATASETS["digits"].augmentation,
    "cifar100": DATASETS["cifar100"].augmentation,
    "crop and flip": Augmentation(),
    "random_area": Augmentation(padding=0, random_area=True),
}
HEADINGS = ("torchvision", "loader", "device: loader's part", "device: batch", "device: both")
Work = Callable[[], Any]


def contenders(augmentation: Augmentation, size: int, images: Tensor, device: str) -> list[Work]:
    """What is measured, in the order of ``HEADINGS`` but for the last."""

    def batch(transform: Any) -> Any:
        items = []
        for row, image in enumerate(images):
            with viewing(row, 0):
                items.append((transform(image), row))
        return collated(items, default_collate)[0]

    def later() -> Any:
        with deferring_views():
            return batch(batched)

    plain = PrivateRandom(augmentation.train(size), seed=0)
    keyed = KeyedTransform(augmentation, size, seed=0)
    batched = BatchedTransform(augmentation, size, seed=0)
    views = later()
    return [
        lambda: batch(plain).to(device),
        lambda: batch(keyed).to(device),
        later,
        lambda: views.to(device),
    ]


def now(device: str) -> float:
    """Seconds of this process; with a GPU those of the clock, when it has nothing left to do."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def rates(works: list[Work], n: int, rounds: int, device: str) -> list[float]:
    """Views a second of each contender, and of the last two together."""
    taken: list[list[float]] = [[] for _ in works]
    for work in works:
        work()
    for _ in range(rounds):
        for work, seconds in zip(works, taken, strict=True):
            start = now(device)
            work()
            seconds.append(now(device) - start)
    medians = [statistics.median(seconds) for seconds in taken]
    return [n / seconds for seconds in (*medians, medians[2] + medians[3])]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[98, 224])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--only", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    shape = (args.batch, 3, 32, 32)
    images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    rows: list[dict[str, Any]] = []
    print(f"| augmentation | size | {' | '.join(HEADINGS)} |")
    print(f"| {' | '.join(['---'] * (2 + len(HEADINGS)))} |")
    for name in args.only:
        for size in args.sizes:
            works = contenders(KINDS[name], size, images, args.device)
            found = rates(works, args.batch, args.rounds, args.device)
            cells = [f"{rate:,.0f}" for rate in found]
            print(f"| {name} | {size} | {' | '.join(cells)} |", flush=True)
            rates_by_form = dict(zip(HEADINGS, found, strict=True))
            rows.append({"augmentation": name, "size": size, **rates_by_form})
    if args.json is not None:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()

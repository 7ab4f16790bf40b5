"""Measure a server that learns: ratios to bare forward passes, and counts of work.

``OMP_NUM_THREADS=1 python benchmarks/serving.py vit_small_patch14_dinov2.lvd142m`` prints a table;
the default is the embedded ViT. ``--events 100000`` adds a journal of so many events: memory,
latency and time to start. Either takes two minutes on a core.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import io
import resource
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.training import untrained
from cl_prompts.serving.app import Service
from cl_prompts.serving.journal import Event, Stored
from cl_prompts.serving.learner import Learner
from cl_prompts.serving.uploads import prepared

LABELS = [f"class {number}" for number in range(10)]


def jpeg(seed: int, size: int = 200) -> bytes:
    """A small photograph of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "JPEG")
    return out.getvalue()


def blank(backbone: str) -> Model:
    """A model without images; other backbones than the embedded one have random weights."""
    about: Any = SimpleNamespace(
        shorter_side=100,
        colourful=True,
        classes=("-",),
        multi_label=False,
        settings={"name": "folder"},
    )

    def random(name: str, *, weights: str, **options: Any) -> Any:
        return create_backbone(name, weights=weights if name == EMBEDDED else "random", **options)

    with patch("cl_prompts.experiments.trained.training.create_backbone", random):
        return untrained(about, backbone=backbone, precision="fp32", device="cpu")


def seconds(work: Callable[[int], object], number: int) -> float:
    """Duration of a call."""
    began = time.perf_counter()
    work(number)
    return time.perf_counter() - began


def ratio(work: Callable[[int], object], bare: Callable[[int], object], n: int) -> float:
    """Median ratio of two durations, measured in turn: a busy machine slows both."""
    return median(seconds(work, number) / seconds(bare, number) for number in range(n))


class Counter:
    """Count the calls of a function of torch."""

    def __init__(self, name: str) -> None:
        self.calls, function = 0, getattr(torch.linalg, name)

        def counted(*values: Any, **options: Any) -> Any:
            self.calls += 1
            return function(*values, **options)

        self.patch = patch.object(torch.linalg, name, counted)


def measure(model: Model, folder: Path, n: int) -> list[tuple[str, str]]:
    """Return the rows of the table."""
    from starlette.testclient import TestClient

    learner = Learner(model, folder)
    service = Service(learner)
    contents = [jpeg(seed) for seed in range(n)]
    rows = []
    with ThreadPoolExecutor(8) as clients, TestClient(service.app, "http://localhost") as client:

        def learn(number: int) -> None:
            files = {"image": ("a.jpg", contents[number])}
            label = LABELS[number % len(LABELS)]
            answer = client.post("/learn", files=files, data={"label": label})
            assert answer.status_code == 200, answer.text

        def predict(number: int) -> None:
            answer = client.post("/predict", files={"image": ("a.jpg", contents[number % n])})
            assert answer.status_code == 200, answer.text

        def bare(number: int) -> None:
            model.network.features(prepared(contents[number % n], model.card)[1][None])

        def crowd(number: int) -> None:
            list(clients.map(predict, range(32)))

        def batched(number: int) -> None:
            for _ in range(4):
                some = [prepared(contents[k % n], model.card)[1] for k in range(8)]
                model.network.features(torch.stack(some))

        learned = [seconds(learn, number) for number in range(n)]
        rows.append(("label to effect", f"median {1000 * median(learned):.0f} ms"))
        passes, counter = service.passes.batches, Counter("cholesky_ex")
        client.post("/undo", json={"event": n})
        with counter.patch:
            learn(n - 1)
        solved = f"{service.passes.batches - passes} pass, {counter.calls} factorisations"
        rows.append(("one label", solved))
        one = ratio(predict, bare, 2 * n)
        rows.append(("predict, one client", f"{one:.2f} of decoding and a bare pass"))
        many = 1 / ratio(crowd, batched, 5)
        rows.append(("predict, 8 clients", f"throughput {many:.2f} of the batched pass"))
    learner.close()
    return rows


def long_session(model: Model, folder: Path, n: int) -> list[tuple[str, str]]:
    """Fill a journal with ``n`` events, and measure the next start and label."""
    learner = Learner(model, folder, keep_images=False)
    draws = torch.Generator().manual_seed(0)
    dim = model.network.head.dim
    for start in range(0, n, 1000):
        features, events = torch.randn(1000, dim, generator=draws), []
        with learner.journal.transaction():
            for row in range(1000):
                sha = hashlib.sha256(f"{start + row}".encode()).hexdigest()
                label = LABELS[row % len(LABELS)]
                learner.journal.store(Stored(sha, features[row], b""))
                event = Event("learn", sha, label, None, None, label, 1.0)
                events.append(event._replace(seq=learner.journal.add(event)))
        learner.live.replay(events)
        if start == 0:
            first = _label(learner, "first")
    learner.live.checkpoint()
    last = _label(learner, "last")
    learner.close()
    del learner
    gc.collect()
    before, began = _memory(), time.perf_counter()
    learner = Learner(model, folder)
    started, more = time.perf_counter() - began, _memory() - before
    learner.close()
    return [
        (f"start after {n} events", f"{started:.1f} s, {more:.0f} MB"),
        ("label then", f"{last / first:.2f} of the time after 1,000 events"),
    ]


def _label(learner: Learner, name: str) -> float:
    def learn(number: int) -> None:
        sha = hashlib.sha256(f"{name}{number}".encode()).hexdigest()
        features = torch.randn(learner.base.network.head.dim)
        learner.learn(Stored(sha, features, b""), LABELS[0]).result()

    return median(seconds(learn, number) for number in range(20))


def _memory() -> float:
    """Megabytes of this process in memory."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default=EMBEDDED)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--events", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = blank(given.backbone)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(model, Path(folder) / "short", given.images)
        if given.events:
            rows += long_session(model, Path(folder) / "long", given.events)
    vit = model.card.backbone
    print(f"{vit.name} at {vit.image_size} px, {model.network.head.dim} features, 1 thread")
    for name, value in rows:
        print(f"{name:26}{value}")


if __name__ == "__main__":
    main()

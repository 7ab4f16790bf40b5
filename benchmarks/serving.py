"""Measure a server that learns: ratios to bare forward passes, and counts of work.

Clients are threads of a second process, so that their work does not delay the server.

``OMP_NUM_THREADS=1 python benchmarks/serving.py vit_small_patch14_dinov2.lvd142m`` prints a table.
The default is the embedded ViT, whose pass of 4 ms is no longer than the work on a request.
``--events 100000`` adds a journal of so many events: memory, latency and time to start. Either
takes two minutes on a core. ``--minutes 10 --clients 8`` alone measures a server under load: every
tenth request is a label, and in the middle the server is killed by SIGKILL and started again.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import io
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import uvicorn
from PIL import Image

from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.weights import create_backbone
from cl_prompts.experiments.trained.model import Model
from cl_prompts.experiments.trained.training import untrained
from cl_prompts.serving import listen
from cl_prompts.serving.app import Service
from cl_prompts.serving.journal import Event, Journal, Stored
from cl_prompts.serving.learner import Learner
from cl_prompts.serving.uploads import prepared

BOUNDARY = "an-image"
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
        torch.manual_seed(0)  # a server that starts again has the same ones
        return create_backbone(name, weights=weights if name == EMBEDDED else "random", **options)

    with patch("cl_prompts.experiments.trained.training.create_backbone", random):
        return untrained(about, backbone=backbone, precision="fp32", device="cpu")


def seconds(work: Callable[[int], object], number: int) -> float:
    """Duration of a call."""
    began = time.perf_counter()
    work(number)
    return time.perf_counter() - began


class Counter:
    """Count the calls of a function of torch."""

    def __init__(self, name: str) -> None:
        self.calls, function = 0, getattr(torch.linalg, name)

        def counted(*values: Any, **options: Any) -> Any:
            self.calls += 1
            return function(*values, **options)

        self.patch = patch.object(torch.linalg, name, counted)


class Client:
    """Connections to a server, one for each thread; a second process holds them."""

    def __init__(self, port: int, n: int) -> None:
        self.port, self.own = port, threading.local()
        self.forms = [_form(jpeg(number), LABELS[number % len(LABELS)]) for number in range(n)]
        self.threads = ThreadPoolExecutor(8)

    def post(self, path: str, number: int) -> float:
        """Send an image, and return the seconds until the answer."""
        if not hasattr(self.own, "line"):
            self.own.line = HTTPConnection("127.0.0.1", self.port)
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        began = time.perf_counter()
        self.own.line.request("POST", path, self.forms[number % len(self.forms)], kind)
        answer = self.own.line.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        return time.perf_counter() - began

    def crowd(self, number: int) -> float:
        """Predict 64 images with eight clients."""
        began = time.perf_counter()
        list(self.threads.map(lambda k: self.post("/predict", k), range(64)))
        return time.perf_counter() - began


def _form(content: bytes, label: str) -> bytes:
    """Return a form with an image and a label."""
    part = f"--{BOUNDARY}\r\ncontent-disposition: form-data; name="
    head = f'{part}"label"\r\n\r\n{label}\r\n{part}"image"; filename="a.jpg"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


def _clients(port: int, n: int) -> None:
    """Start the client of this process."""
    global client
    client = Client(port, n)


def _call(name: str, *values: Any) -> Any:
    return getattr(client, name)(*values)


@contextmanager
def serving(service: Service) -> Iterator[int]:
    """Serve in a thread, and give the port."""
    with listen("127.0.0.1", 0) as listening:
        server = uvicorn.Server(
            uvicorn.Config(service.app, log_level="warning", timeout_keep_alive=60)
        )
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def measure(model: Model, folder: Path, n: int) -> list[tuple[str, str]]:
    """Return the rows of the table."""
    learner = Learner(model, folder)
    service = Service(learner)
    contents = [jpeg(seed) for seed in range(n)]

    def bare(number: int) -> None:
        model.network.features(prepared(contents[number % n], model.card)[1][None])

    def batched(number: int) -> None:
        for start in range(0, 64, 8):
            some = [prepared(contents[k % n], model.card)[1] for k in range(start, start + 8)]
            model.network.features(torch.stack(some))

    rows = []
    with (
        serving(service) as port,
        ProcessPoolExecutor(1, get_context("spawn"), _clients, (port, n)) as other,
    ):

        def call(name: str, *values: Any) -> Any:
            return other.submit(_call, name, *values).result()

        learned = [call("post", "/learn", number) for number in range(n)]
        rows.append(("label to effect", f"median {1000 * median(learned):.0f} ms"))
        passes, counter = service.passes.batches, Counter("cholesky_ex")
        learner.undo(n).result()
        with counter.patch:
            call("post", "/learn", n - 1)
        solved = f"{service.passes.batches - passes} pass, {counter.calls} factorisations"
        rows.append(("one label", solved))
        one = median(call("post", "/predict", k) / seconds(bare, k) for k in range(2 * n))
        rows.append(("predict, one client", f"{one:.2f} of decoding and a bare pass"))
        many = median(seconds(batched, k) / call("crowd", k) for k in range(5))
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


def _serve(backbone: str, folder: Path, answers: Any) -> None:
    """Serve in this process until it is killed."""
    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)
    with serving(Service(Learner(blank(backbone), folder))) as port:
        answers.send(port)
        threading.Event().wait()


@contextmanager
def server(backbone: str, folder: Path) -> Iterator[tuple[int, int]]:
    """Serve in another process, give its number and its port, and kill it."""
    spawn = get_context("spawn")
    mine, its = spawn.Pipe()
    process = spawn.Process(target=_serve, args=(backbone, folder, its))
    process.start()
    yield process.pid or 0, mine.recv()
    process.kill()
    process.join()


class Load:
    """Clients that predict, label every tenth image, and note what was acknowledged."""

    def __init__(self, clients: int) -> None:
        self.clients = clients
        self.times: dict[str, list[float]] = {"/predict": [], "/learn": []}
        self.learned: list[str] = []
        self.failed = 0

    def client(self, port: int, number: int, until: float) -> None:
        """Send requests until the time is over, or the server is killed."""
        line, count = HTTPConnection("127.0.0.1", port), 0
        kind = {"content-type": f"multipart/form-data; boundary={BOUNDARY}"}
        while time.monotonic() < until:
            count += 1
            seed = number + self.clients * time.monotonic_ns()
            content, path = jpeg(seed % 2**40), "/predict" if count % 10 else "/learn"
            began = time.perf_counter()
            try:
                line.request("POST", path, _form(content, LABELS[seed % len(LABELS)]), kind)
                answer = line.getresponse()
                assert answer.status == 200, answer.read()
                answer.read()
            except (OSError, HTTPException):  # killed
                self.failed += 1
                return
            self.times[path].append(time.perf_counter() - began)
            if path == "/learn":
                self.learned.append(hashlib.sha256(content).hexdigest())

    def run(self, port: int, seconds: float) -> list[threading.Thread]:
        """Start the clients."""
        until = time.monotonic() + seconds
        work = [(port, number, until) for number in range(self.clients)]
        threads = [threading.Thread(target=self.client, args=one) for one in work]
        for thread in threads:
            thread.start()
        return threads


def soak(backbone: str, folder: Path, minutes: float, clients: int) -> list[tuple[str, str]]:
    """Load a server, kill it in the middle, and load the next one on its journal."""
    load, half, memory = Load(clients), 30 * minutes, []
    for part in range(2):
        with server(backbone, folder) as (pid, port):
            # The first server is killed while the clients wait for answers.
            threads = load.run(port, half + (0 if part else 60))
            time.sleep(half / 5)
            memory.append(_memory(pid))
            time.sleep(4 * half / 5)
            memory.append(_memory(pid))
            if part:
                for thread in threads:
                    thread.join()
        for thread in threads:
            thread.join()
    journal = Journal(folder / "journal.sqlite")
    stored = {event.sha256 for event in journal.learned()}
    lost = len(set(load.learned) - stored)
    rows = []
    for path, times in load.times.items():
        p50, p99 = (1000 * np.percentile(times, share) for share in (50, 99))
        rows.append((path, f"{len(times)} answers, p50 {p50:.0f} ms, p99 {p99:.0f} ms"))
    kept = " -> ".join(f"{mb:.0f}" for mb in memory)
    rows.append(("memory", f"{kept} MB, at 1/5 and at the end of each half"))
    said = f"{len(load.learned)} labels acknowledged, {lost} lost, {load.failed} requests cut off"
    return [*rows, ("kill -9 in the middle", said)]


def _label(learner: Learner, name: str) -> float:
    def learn(number: int) -> None:
        sha = hashlib.sha256(f"{name}{number}".encode()).hexdigest()
        features = torch.randn(learner.base.network.head.dim)
        learner.learn(Stored(sha, features, b""), LABELS[0]).result()

    return median(seconds(learn, number) for number in range(20))


def _memory(pid: object = "self") -> float:
    """Megabytes of a process in memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbone", nargs="?", default=EMBEDDED)
    parser.add_argument("--images", type=int, default=30)
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=0)
    parser.add_argument("--clients", type=int, default=8)
    given = parser.parse_args()
    torch.set_num_threads(1)
    sys.setswitchinterval(0.0005)  # as cl-prompts serve
    model = blank(given.backbone)
    with tempfile.TemporaryDirectory() as folder:
        if given.minutes:
            rows = soak(given.backbone, Path(folder) / "soak", given.minutes, given.clients)
        else:
            rows = measure(model, Path(folder) / "short", given.images)
        if given.events:
            rows += long_session(model, Path(folder) / "long", given.events)
    vit = model.card.backbone
    print(f"{vit.name} at {vit.image_size} px, {model.network.head.dim} features, 1 thread")
    for name, value in rows:
        print(f"{name:26}{value}")


if __name__ == "__main__":
    main()

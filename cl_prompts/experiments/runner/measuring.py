"""Short measurements at the start of a run, of what a machine is faster with.

What they choose changes no number, or stands in the settings that make a run what it is.
"""

from __future__ import annotations

import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import torch

from cl_prompts.backbones import FrozenViT, create_backbone
from cl_prompts.backbones.catalog import EMBEDDED
from cl_prompts.backbones.devices import check_precision, lacks_bf16, pick_device
from cl_prompts.backbones.vit import Precision
from cl_prompts.datasets.dataset import ImageSet
from cl_prompts.datasets.fingerprint import sampled_places
from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import MOST_WORKERS, Settings

#: what a loader reads ahead of its mean, since views differ in time
HEADROOM = 1.25
#: loader processes beside a GPU where an image cannot be read before the run
UNMEASURED = 12
#: share of the time of the other choice, above which two are as fast
AS_FAST = 0.9
#: multiply-accumulates of a batch, beyond which more threads are faster on any machine
TINY = 1e9


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of some work, the shorter of two after a first one that counts nothing."""
    found = []
    for _ in range(3):
        begin = time.perf_counter()
        work()
        found.append(time.perf_counter() - begin)
    return min(found[1:])


def forward_seconds(backbone: FrozenViT, batch: int) -> float:
    """Seconds of a frozen forward pass of a batch, where the backbone lies; no pass is counted."""
    counts = backbone.counter.counts()
    side = backbone.image_size
    images = torch.zeros(batch, 3, side, side, device=backbone.mean.device)
    with torch.no_grad():
        # Reading a number waits until a device has finished.
        found = seconds(lambda: float(backbone(images).sum()))
    backbone.counter.go_on_from(counts)
    return found


def view_seconds(images: ImageSet) -> float:
    """Seconds of a process for reading a training image and making its view, a mean of up to 32."""
    rows = sampled_places(len(images))
    return seconds(lambda: [images.view(row, 0) for row in rows]) / len(rows)


def loader_processes(view: float, step: float, batch: int, cores: int) -> int:
    """Processes that make the views of a batch while a step on another one takes place.

    >>> loader_processes(view=0.001, step=0.02, batch=64, cores=16)
    4

    Args:
        view: seconds of a process for a view.
        step: seconds of a step, or the least that one takes.
        batch: views of a step.
        cores: that may be used, one of them by the training itself.
    """
    wanted = math.ceil(min(HEADROOM * batch * view / max(step, 1e-9), MOST_WORKERS))
    return max(1, min(wanted, cores - 1))


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def chosen_workers(images: ImageSet, backbone: FrozenViT, batch: int) -> tuple[int, list[str]]:
    """Loader processes beside a backbone on its device, and a sentence on how they were measured.

    None beside a network that computes on the CPU, whose cores they would take, and where reading
    an image is no work: it lies in memory, and nothing random is done to it. A step takes a forward
    pass at least.
    """
    if backbone.mean.device.type in ("cpu", "mps") or (images.is_plain and not images.files):
        return 0, []
    view = view_seconds(images)
    step = forward_seconds(backbone, batch)
    n = loader_processes(view, step, batch, cores())
    return n, [
        f"num_workers={n}: a process makes a view in {1000 * view:.2g} ms, a forward pass of"
        f" {batch} takes {1000 * step:.2g} ms, and there are {cores()} cores"
    ]


@lru_cache(maxsize=64)
def faster_precision(name: str, image_size: int | None, device: str) -> tuple[Precision, str]:
    """The precision in which a backbone is faster on a device, and a sentence on it."""
    where = pick_device(device)
    try:
        check_precision("bf16", where)
    except InputError:
        return "fp32", f"precision=auto: fp32, since {where} has no bf16"
    if lacks_bf16(where):
        return "fp32", "precision=auto: fp32, since this processor has no instructions for bf16"
    taken: dict[Precision, float] = {}
    both: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in both:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # speed does not depend on the weights
            vit = create_backbone(
                name, weights="random", image_size=image_size, precision=precision
            )
        taken[precision] = forward_seconds(vit.to(where), 8)
    ratio = taken["bf16"] / taken["fp32"]
    found: Precision = "bf16" if ratio < AS_FAST else "fp32"
    return found, f"precision=auto: {found}, a forward pass in bf16 takes {ratio:.2f} of fp32's"


def settled(run: Settings) -> tuple[Settings, list[str]]:
    """Settings whose ``precision=auto`` is the faster one here, and a sentence on it.

    Rounding enters the numbers of a run: its settings name the precision taken, before anything is
    made of them, so that it is resumed in that one, and shares a row with none of the other.
    """
    if run.backbone["precision"] != "auto":
        return run, []
    precision, note = faster_precision(run.backbone["name"], run.backbone["image_size"], run.device)
    return replace(run, backbone={**run.backbone, "precision": precision}), [note]


def settled_all(plan: Sequence[Settings]) -> tuple[list[Settings], list[str]]:
    """Each run of a plan, :func:`settled`, and what is said of them, once."""
    runs = []
    notes: dict[str, None] = {}
    for run, said in map(settled, plan):
        runs.append(run)
        notes |= dict.fromkeys(said)
    return runs, list(notes)


def takes_one_thread(run: Settings) -> bool:
    """Whether the operations of a run are too short to be divided: the embedded ViT on the CPU, at
    no more than twice its own image size.

    A fixed rule, since the number of threads enters the rounding of sums: one measured in each
    process would leave a seed without fixed numbers.
    """
    small = run.backbone["name"] == EMBEDDED and (run.backbone["image_size"] or 0) <= 64
    return small and pick_device(run.device).type == "cpu"


@contextmanager
def its_threads(*, one: bool) -> Iterator[None]:
    """Compute with one thread, or with as many as there are."""
    before = torch.get_num_threads()
    if one:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def threads_remark(backbone: FrozenViT, batch: int) -> list[str]:
    """A sentence where one thread is faster than those that torch has, in tiny forward passes on
    the CPU. The number is left alone: it enters the rounding of sums."""
    n = torch.get_num_threads()
    tiny = batch * backbone.forward_macs < TINY
    if n == 1 or not tiny or backbone.mean.device.type != "cpu":
        return []
    several = forward_seconds(backbone, batch)
    with its_threads(one=True):
        alone = forward_seconds(backbone, batch)
    if alone > AS_FAST * several:
        return []
    return [
        f"a forward pass takes {alone / several:.2f} as long on one thread as on torch's {n}:"
        " OMP_NUM_THREADS=1 in front of the command is faster, and rounds sums otherwise"
    ]

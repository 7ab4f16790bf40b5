"""Contenders of `cost.py`: training steps, inference passes, and the unit F."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import Dataset
from torch.utils.flop_counter import FlopCounterMode

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.losses.multi_label import multi_label_loss
from cl_prompts.models.multi_lane import MultiLaneViT
from cl_prompts.scenarios import class_incremental_benchmark
from cl_prompts.strategies import STRATEGIES, strategy_class

Work = Callable[[], object]
N_CLASSES = 8
METHODS: dict[str, dict[str, Any]] = {
    name: {} for name in STRATEGIES if not name.startswith("joint")
}
# adapters are trained task by task
METHODS["aper"] = {"boundaries": True}
METHODS["ease"] = {"boundaries": True}
METHODS["coda_prompt"] = {"n_components": 100}
METHODS["ranpac"] = {"projection": 2000}
METHODS["rda"] = {"features": "blocks:half"}  # those of recommended
for _name in ("mvp", "l2p", "coda_prompt", "single_prompt"):
    METHODS[f"{_name}@half"] = METHODS[_name] | {"tokens": 0.5}
for _name in ("mvp", "l2p", "coda_prompt"):
    METHODS[f"{_name}@early"] = METHODS[f"{_name}@half"] | {"query_block": 3}
REPLAY = ("er", "er_ace", "derpp", "ewcpp", "rainbow", "clib")
LANES = (1, 5, 10, 20)


class Contender(NamedTuple):
    """Work, and how many steps it holds."""

    run: Work
    steps: float = 1.0


class Pictures(Dataset[tuple[Tensor, int]]):
    """Noise around a colour for each class, every class equally often."""

    def __init__(self, n: int, side: int, n_classes: int = N_CLASSES) -> None:
        colours = torch.rand(n_classes, 3, 1, 1, generator=torch.Generator().manual_seed(0))
        self.targets = [i % n_classes for i in range(n)]
        self.images = (colours[self.targets] + torch.rand(n, 3, side, side)) / 2

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], self.targets[index]


def device_of(backbone: FrozenViT) -> torch.device:
    """The device on which a backbone, and so all that is measured, computes."""
    return next(backbone.parameters()).device


def unit(backbone: FrozenViT, batch: int) -> Work:
    """The unit F: timm's own forward with fused attention under no_grad, plus a step of a linear
    head."""
    device = device_of(backbone)
    images = torch.rand(batch, 3, backbone.image_size, backbone.image_size, device=device)
    labels = torch.randint(0, N_CLASSES, (batch,), device=device)
    head = torch.nn.Linear(backbone.dim, N_CLASSES, device=device)
    optimizer = torch.optim.Adam(head.parameters(), lr=5e-3)

    def run() -> None:
        with torch.no_grad():
            tokens = backbone.vit.forward_features(images)
            features = backbone.vit.forward_head(tokens, pre_logits=True)
        optimizer.zero_grad()
        F.cross_entropy(head(features), labels).backward()
        optimizer.step()

    return run


def contenders(name: str, backbone: FrozenViT, batch: int) -> dict[str, Contender]:
    """What is measured of a method, or of ``"lanes"``, by label."""
    torch.manual_seed(0)
    return lane_work(backbone, batch) if name == "lanes" else strategy_work(name, backbone, batch)


def counted(work: Contender, backbone: FrozenViT, batch: int) -> float:
    """Multiply-accumulates of a step, backward pass included, in plain forwards of a batch."""
    return count_of(work.run) / work.steps / (backbone.forward_macs * batch)


def count_of(work: Work) -> float:
    """Multiply-accumulates of some work, by torch's own counter; tests hold budgets against it."""
    flops = FlopCounterMode(display=False)
    flops.mod_tracker = _NoModules()
    with sdpa_kernel(SDPBackend.MATH), flops:
        work()
    return flops.get_total_flops() / 2


def saved_of(work: Work, backbone: FrozenViT) -> float:
    """MiB that autograd holds at most for backward passes, besides the ViT's weights."""
    weights = {p.untyped_storage().data_ptr() for p in backbone.parameters()}
    live: Counter[tuple[int, int]] = Counter()
    most = 0

    class Saved:
        def __init__(self, tensor: Tensor) -> None:
            nonlocal most
            self.tensor, storage = tensor, tensor.untyped_storage()
            self.key = (storage.data_ptr(), storage.nbytes())
            if self.key[0] not in weights:
                live[self.key] += 1
            most = max(most, sum(size for _, size in live))

        def __del__(self) -> None:
            live[self.key] -= 1
            if live[self.key] <= 0:
                del live[self.key]

    with saved_tensors_hooks(Saved, lambda saved: saved.tensor):
        work()
    return most / 2**20


class _NoModules:
    """In place of torch's attribution to modules, which fails where prompts enter without
    gradient."""

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def strategy_on(name: str, backbone: FrozenViT, batch: int) -> tuple[Any, Any]:
    """A strategy, and an experience of two of its batches."""
    options = dict(METHODS[name])
    stream = batch // 2 if name in REPLAY else batch
    if name in REPLAY:
        options |= {"buffer_size": 4 * batch, "buffer_batch_size": batch - stream}
    cls = strategy_class(name.partition("@")[0])
    if "multi_label" in cls.settings():
        options["multi_label"] = False
    strategy = cls(
        backbone=backbone,
        n_classes=N_CLASSES,
        evaluator=None,
        device=device_of(backbone),
        train_mb_size=stream,
        train_epochs=1,
        online_iter=1,
        **{"boundaries": False, "period": 10**9, **options},
    )
    data = Pictures(2 * stream, backbone.image_size)
    (experience,) = class_incremental_benchmark(data, data, n_tasks=1).train_stream
    return strategy, experience


def strategy_work(name: str, backbone: FrozenViT, batch: int) -> dict[str, Contender]:
    """Training step, inference, and inference with what the evaluation keeps."""
    strategy, experience = strategy_on(name, backbone, batch)
    for _ in range(4):  # fills the memory
        strategy.train(experience, eval_streams=[])
    model = strategy.model.eval()
    side = backbone.image_size
    images = torch.rand(batch, 3, side, side, device=device_of(backbone))
    with torch.no_grad():
        kept = model.run(images).cacheable
    # CLIB trains on its memory alone, so its steps are half as large.
    steps = 1.0 if name == "clib" else 2.0
    work = {
        f"{name}: training step": Contender(
            lambda: strategy.train(experience, eval_streams=[]), steps
        ),
        f"{name}: inference": Contender(without_gradient(model, lambda: model.run(images))),
    }
    if kept:
        there = images if model.needs_images(kept) else None
        cached = without_gradient(model, lambda: model.run(there, kept))
        work[f"{name}: inference, cached"] = Contender(cached)
    return work


def lane_work(backbone: FrozenViT, batch: int) -> dict[str, Contender]:
    """MULTI-LANE at several numbers of lanes."""
    side, device = backbone.image_size, device_of(backbone)
    images = torch.rand(batch, 3, side, side, device=device)
    targets = torch.randint(0, 2, (batch, 80), device=device)

    def lanes(n: int) -> MultiLaneViT:
        model = MultiLaneViT(backbone, 80).to(device)
        for i in range(n):
            model.open_lane(range(i * 80 // n, (i + 1) * 80 // n))
        return model

    def training(model: MultiLaneViT) -> Work:
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        columns = model.columns()

        def step() -> None:
            model.train()
            optimizer.zero_grad()
            multi_label_loss(model.run(images).logits, targets, columns).backward()
            optimizer.step()

        return step

    work: dict[str, Contender] = {}
    for n in LANES:
        model = lanes(n)
        run = without_gradient(model, lambda model=model: model.run(images))
        work[f"lanes: inference, T={n}"] = Contender(run)
    work["lanes: training step"] = Contender(training(lanes(8)))
    return work


def without_gradient(model: torch.nn.Module, work: Work) -> Work:
    """The work under no_grad, in evaluation mode."""

    def run() -> None:
        model.eval()
        with torch.no_grad():
            work()

    return run

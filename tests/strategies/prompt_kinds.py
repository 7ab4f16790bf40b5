"""The prompt pools at toy size, and streams for them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.prompts.task_aware import start_task
from cl_prompts.scenarios import class_incremental_benchmark, si_blurry_benchmark
from cl_prompts.strategies import L2P, CODAPrompt, DualPrompt, OnePrompt, SPrompt
from tests.conftest import Blobs, lively_vit

EARLY = (0, 1, 2, 3)
KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "l2p": (L2P, {"pool_size": 4, "prompt_length": 2, "top_k": 2}),
    "dual_prompt": (
        DualPrompt,
        {"g_blocks": (0,), "g_length": 2, "e_blocks": (1, 2, 3), "e_length": 4, "n_tasks": 3},
    ),
    "coda_prompt": (
        CODAPrompt,
        {"n_components": 9, "prompted_blocks": EARLY, "prompt_length": 8, "n_tasks": 3},
    ),
    "s_prompt": (SPrompt, {"prompted_blocks": EARLY, "prompt_length": 4, "n_tasks": 3}),
    "one_prompt": (OnePrompt, {"prompted_blocks": EARLY, "prompt_length": 4}),
}
SELECTING = [kind for kind in KINDS if kind != "one_prompt"]


def make(kind: str, *, backbone: FrozenViT | None = None, **changes: Any) -> Any:
    torch.manual_seed(0)
    cls, options = KINDS[kind]
    settings = {
        "train_mb_size": 16,
        "train_epochs": 2,
        "device": "cpu",
        "evaluator": None,
        "lr": 0.01,
    }
    return cls(backbone=backbone or lively_vit(), n_classes=6, **{**settings, **options, **changes})


def unannounced(kind: str, **changes: Any) -> Any:
    known = {"n_tasks": None} if "n_tasks" in KINDS[kind][1] else {}
    return make(kind, **{**known, **changes})


def tasks(n_tasks: int = 3) -> list[Any]:
    benchmark = class_incremental_benchmark(
        Blobs(96, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=n_tasks
    )
    return list(benchmark.train_stream)


def blurry() -> list[Any]:
    return list(
        si_blurry_benchmark(
            Blobs(96, 6, seed=1), Blobs(48, 6, seed=2), n_tasks=3, seed=3
        ).train_stream
    )


def train(strategy: Any, experiences: list[Any]) -> Any:
    for experience in experiences:
        strategy.train(experience, eval_streams=[])
    return strategy


def state(strategy: Any) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in strategy.model.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def announce(model: nn.Module, task: int) -> None:
    for t in range(task + 1):
        start_task(model, t)

"""A stream on which prompts have to learn: a linear head alone fails on it, and prompts at their
initial value do, too."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.metrics.evaluator import CachedEvaluator
from cl_prompts.scenarios import si_blurry_benchmark
from cl_prompts.strategies import OnlineStrategy
from tests.conftest import Riddles, lively_vit

#: what every method learns with here; the stream is blurry through and through, so that nothing but
# learning is measured
SETTINGS: dict[str, Any] = {
    "lr": 0.02,
    "train_mb_size": 16,
    "train_epochs": 8,
    "online_iter": 1,
    "schedule": "constant",
    "clip_norm": None,
    "device": "cpu",
    "evaluator": None,
}


class StillPrompts(SupervisedPlugin):
    """Only the head learns: prompts, keys and the like stay as they began."""

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        """Drop the gradients of everything else."""
        for name, parameter in strategy.model.named_parameters():
            if "head" not in name:
                parameter.grad = None


def riddles_solved(
    build: Callable[..., OnlineStrategy], *, still: bool = False, **options: Any
) -> float:
    """Accuracy on unseen riddles after three tasks, 1/6 by chance and about 0.6 with a linear head
    on frozen features.

    Args:
        build: the strategy's class.
        still: keep prompts at their initial values.
        options: of the strategy; blocks of the ViT are 0 to 3.
    """
    torch.manual_seed(0)
    backbone: FrozenViT = lively_vit()
    plugins: Sequence[SupervisedPlugin] = [StillPrompts()] if still else []
    strategy = build(backbone=backbone, n_classes=6, plugins=plugins, **{**SETTINGS, **options})
    test = Riddles(120, seed=2)
    stream = si_blurry_benchmark(
        Riddles(240, seed=1), test, n_tasks=3, disjoint_percent=0, blurry_percent=100, seed=3
    ).train_stream
    for experience in stream:
        strategy.train(experience, eval_streams=[])
    return float(CachedEvaluator(test)(strategy.model, strategy.model.seen).overall())

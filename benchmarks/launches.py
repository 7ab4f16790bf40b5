"""Kernels that a training step of each method launches, counted on the CPU.

    python benchmarks/launches.py [--only mvp multi_lane]

With small kernels a GPU waits for launches: below some batch size they determine the time of a
step, not the arithmetic. The number of kernels depends neither on the device nor on the width of
the ViT, so they are counted by torch's dispatch on a ViT of 12 narrow blocks, from the start of an
update to its end: forward and backward pass, clipping and optimizer, whose form for many tensors at
once (``foreach``, a GPU's default) is one kernel for each of its calls. Augmentation launches
nothing. "tiny": kernels that read and write fewer than a tenth of the numbers of one layer's
tokens. "products": matrix products, convolutions and attention.
"""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from contenders import METHODS, strategy_on
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.strategies.base.loop import OnlineLoop

BATCH = 8
WIDTH = 120
PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "convolution", "linear", "dot", "mv")
#: calls of torch that compute nothing, or that a GPU's form of the same line does not make
NO_KERNELS = (
    "_local_scalar_dense",
    "_record_function_enter_new",
    "_record_function_exit",
    "_unsafe_view",
    "empty",
    "empty_like",
    "empty_strided",
    "lift_fresh",
    "new_empty",
)


class Launches(TorchDispatchMode):
    """Counts kernels by kind.

    Args:
        tiny: numbers below which a kernel is tiny.
    """

    def __init__(self, tiny: int) -> None:
        super().__init__()
        self.tiny = tiny
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        """Run an operator, and count it."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if func.is_view or name in NO_KERNELS:
            return result
        sizes = [x.numel() for x in tree_leaves((args, result)) if isinstance(x, Tensor)]
        self.counts["kernels"] += 1
        self.counts["products"] += name in PRODUCTS or "attention" in name
        self.counts["tiny"] += max(sizes, default=0) < self.tiny
        return result


def narrow_vit() -> FrozenViT:
    """ViT-B's twelve blocks and twelve heads, 16 tokens and little width."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = VisionTransformer(
            img_size=32, patch_size=8, embed_dim=WIDTH, depth=12, num_heads=12, num_classes=0
        )
    return FrozenViT(vit)


@contextmanager
def counting_updates(counter: Launches) -> Iterator[list[None]]:
    """Count inside of strategies' updates alone, with one entry of the list for each."""
    update = OnlineLoop.update
    updates: list[None] = []

    def counted(loop: OnlineLoop, *given: Any, **named: Any) -> None:
        for group in loop.strategy.optimizer.param_groups:
            group["foreach"] = True
        with counter:
            update(loop, *given, **named)
        updates.append(None)

    with patch.object(OnlineLoop, "update", counted):
        yield updates


def launches(name: str, backbone: FrozenViT) -> dict[str, float]:
    """Kernels, products and tiny kernels of one update of a method, by kind."""
    tokens = (backbone.image_size // 8) ** 2 + 1
    counter = Launches(BATCH * tokens * WIDTH // 10)
    strategy, experience = strategy_on(name, backbone, BATCH)
    strategy.train(experience, eval_streams=[])  # fills the buffer
    with counting_updates(counter) as updates:
        strategy.train(experience, eval_streams=[])
    kinds = ("kernels", "products", "tiny")
    return {kind: counter.counts[kind] / len(updates) for kind in kinds}


def main() -> None:
    """Print a row for each method."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=METHODS, default=list(METHODS))
    names = parser.parse_args().only
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    backbone = narrow_vit()
    print("| method | kernels | products | tiny |\n| --- | --- | --- | --- |")
    for name in names:
        found = launches(name, backbone)
        print(f"| {name} | " + " | ".join(f"{count:.0f}" for count in found.values()) + " |")


if __name__ == "__main__":
    main()

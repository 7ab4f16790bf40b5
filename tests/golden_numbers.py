"""Reference numbers of published code (``tests/golden/beyond/*.npz`` and ``later``), read and
compared by key."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from tests import GOLDEN_FILES

#: Every golden model takes images in [0, 1] as they are.
PLAIN = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Golden:
    """One file of reference numbers: ``golden("task1/logits")`` is a tensor, integers as int64.

    Those in ``later`` are in double precision.
    """

    def __init__(self, name: str, folder: str = "beyond") -> None:
        self.arrays = dict(np.load(GOLDEN_FILES / folder / f"{name}.npz"))

    def __call__(self, key: str) -> Tensor:
        tensor = torch.from_numpy(self.arrays[key])
        return tensor.long() if tensor.dtype == torch.int32 else tensor

    def number(self, key: str) -> float:
        return float(self.arrays[key])

    def keys(self, prefix: str) -> list[str]:
        return [key for key in self.arrays if key.startswith(prefix)]

    def state(self, prefix: str) -> dict[str, Tensor]:
        """All tensors below ``prefix``, which is cut off: a state dict."""
        return {key.removeprefix(prefix): self(key) for key in self.keys(prefix)}

    def close(self, got: Tensor, key: str, atol: float = 2e-5, rtol: float = 0) -> None:
        """Assert that ``got`` has the values of ``key``, whatever its shape."""
        want = self(key)
        torch.testing.assert_close(
            got.detach().to(want.dtype), want.view_as(got), atol=atol, rtol=rtol
        )

    def close_double(self, got: Tensor, key: str) -> None:
        """Assert that ``got`` is ``key`` to 1e-8 of its largest entry, in double precision."""
        assert got.dtype == torch.float64
        self.close(got, key, atol=1e-8 * max(float(self(key).abs().max()), 1e-300))


def golden_vit(state: dict[str, Tensor] | None = None) -> FrozenViT:
    vit = VisionTransformer(
        img_size=32, patch_size=8, embed_dim=32, depth=6, num_heads=4, num_classes=0
    )
    vit.load_state_dict(state or Golden("vit").state(""))
    return FrozenViT(vit, normalisation=PLAIN)


def golden_strategy(kind: Callable[..., Any], n_classes: int, **settings: Any) -> Any:
    """A method on the tiny backbone, without output."""
    given = {"backbone": golden_vit(), "n_classes": n_classes, **settings}
    return kind(**given, evaluator=None, device="cpu")


def give_head(model: Any, golden: Golden, prefix: str = "") -> None:
    for name, parameter in model.head.named_parameters():
        put(parameter, golden(f"{prefix}head_{name}"))
    model.observe_classes(torch.arange(model.n_classes))


def put(parameter: Tensor, values: Tensor) -> None:
    with torch.no_grad():
        parameter.copy_(values.reshape(parameter.shape))


def gradient(parameter: Tensor) -> Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad


def add_position(model: Any) -> None:
    """Add the class token's positional embedding to all rows of prompts, as published code does."""
    position = model.backbone.vit.pos_embed[0, 0]
    for pool in model.pools:
        if hasattr(pool, "build_from"):
            pool.build_from = partial(_shifted, pool.build_from, position)
        else:
            pool.build = lambda *given, build=pool.build: build(*given).mapped(position.add)


def _shifted(build: Any, position: Tensor, values: Tensor, selection: Any) -> Any:
    return build(values + position, selection)

"""Finished runs of the table, each made once for all families."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

from torch import Tensor

from cl_prompts.backbones.vit import FrozenViT
from tests.toy_data import experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make, weights


@dataclass
class Run:
    """A finished run, which tests may read but not change.

    Attributes:
        strategy: after training.
        backbone: that was given.
        original: its state before training.
        before: state of the model before training.
        after: and after it.
        passed: images that passed in training, and blocks that they passed through.
    """

    strategy: Any
    backbone: FrozenViT
    original: dict[str, Tensor]
    before: dict[str, Tensor]
    after: dict[str, Tensor]
    passed: tuple[int, int]


@cache
def finished(kind: str, scenario: str = "si_blurry") -> Run:
    """The table's strategy after the scenario's stream."""
    backbone = lively_vit()
    original = {name: value.clone() for name, value in backbone.state_dict().items()}
    strategy = make(kind, scenario, backbone=backbone)
    before = weights(strategy)
    fit(strategy, experiences(scenario))
    counter = strategy.model.backbone.counter
    passed = (counter.images, counter.blocks)
    return Run(strategy, backbone, original, before, weights(strategy), passed)

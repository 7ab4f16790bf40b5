"""Small models for tests: closed forms on images in memory."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl_prompts.experiments.trained.card import Backbone, Card, Images
from cl_prompts.experiments.trained.ledger import Ledger
from cl_prompts.experiments.trained.model import Model
from tests.toys import make

CLASSES = ["ape", "bee", "cat"]


def blank(kind: str = "ncm", classes: list[str] = CLASSES, **settings: Any) -> Model:
    """An untrained model of a toy strategy, which knows these classes."""
    several = kind == "multi_label_ridge"
    scenario = "si_blurry_multi_label" if several else "si_blurry"
    strategy = make(kind, scenario, n_classes=len(classes), **settings)
    vit = strategy.model.backbone
    card = Card(
        method=kind,
        settings={},
        seed=0,
        backbone=Backbone.of("vit_tiny", "random", vit),
        images=Images(dataset="folder", crop=None),
        classes=list(classes),
        multi_label=several,
        n_tasks=1,
        first=[len(classes), 1],
        announced=False,
    )
    labels = len(classes) if several else None
    return Model(strategy, card, Ledger.empty(vit.feature_dim, labels))


def images(n: int, seed: int = 0) -> Tensor:
    """Images (n, 3, 16, 16), of which no two are equal."""
    return torch.rand(n, 3, 16, 16, generator=torch.Generator().manual_seed(seed))


def names(n: int, classes: list[str] = CLASSES) -> list[str]:
    return [classes[i % len(classes)] for i in range(n)]


def same(one: Model, other: Model, tests: Tensor | list[Path]) -> None:
    """Assert that two models have equal sums and predictions, whatever the order of classes."""
    first, second = one.sums("be compared"), other.sums("be compared")
    assert sorted(first.classes) == sorted(second.classes)
    second = second.with_classes(first.classes)
    ours, theirs = (sums.network.head.state_dict() for sums in (first, second))
    for key, value in ours.items():
        if value.is_floating_point() and value.numel():
            scale = float(theirs[key].abs().max()) or 1.0
            assert float((value - theirs[key]).abs().max()) <= 1e-9 * scale, key
    assert one.predict(tests).labels == other.predict(tests).labels
    known, wanted = (sorted(map(bytes, model.ledger.hashes)) for model in (one, other))
    assert known == wanted


def rows(ledger: Ledger) -> int:
    """Number of stored features, each of which belongs to a learned image."""
    assert len(ledger.rows) == len(ledger.features) == len(np.unique(ledger.rows))
    assert not len(ledger.rows) or int(ledger.rows.max()) < len(ledger)
    return len(ledger.rows)

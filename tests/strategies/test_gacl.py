"""GACL: the published recursion's weights from a stream, and RanPAC's with another ridge."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.strategies import GACL
from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.toy_vits import tiny_vit
from tests.toys import fit

GOLDEN = Golden("analytic")


def published(**changes: Any) -> GACL:
    strategy = GACL(
        backbone=tiny_vit(embed_dim=12),
        n_classes=7,
        projection=20,
        ridge=GOLDEN.number("gamma"),
        evaluator=None,
        device="cpu",
        **changes,
    )
    give(strategy, torch.cat([GOLDEN(f"batch{i}/features") for i in range(4)]))
    strategy.model.head.statistics.expansion.matrix = GOLDEN("projection")
    return strategy


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "weight"),
        ({"augmented_views": True, "online_iter": 3}, "weight_three_passes"),
        ({"ridge": GOLDEN.number("gamma") / 3}, "weight_three_passes"),
    ],
)
def test_the_published_run(changes: dict[str, Any], name: str) -> None:
    ridge = {"ridge": changes.pop("ridge")} if "ridge" in changes else {}
    strategy = published(**changes)
    if ridge:
        strategy.model.head.ridge.fill_(ridge["ridge"])
    for i, part in enumerate(stream_of([GOLDEN(f"batch{i}/labels") for i in range(4)])):
        fit(strategy, [part])
        strategy.model.head(GOLDEN("test_features"))  # W is solved for when it is needed
        want = GOLDEN(f"batch{i}/{name}")
        GOLDEN.close(strategy.model.head.weight[:, : want.shape[1]], f"batch{i}/{name}", atol=1e-9)

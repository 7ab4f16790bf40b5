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


@pytest.mark.parametrize(
    ("share", "changes", "name"),
    [
        (1, {}, "weight"),
        (1, {"augmented_views": True, "online_iter": 3}, "weight_three_passes"),
        (1 / 3, {}, "weight_three_passes"),
    ],
)
def test_the_published_run(share: float, changes: dict[str, Any], name: str) -> None:
    strategy = GACL(
        backbone=tiny_vit(embed_dim=12),
        n_classes=7,
        projection=20,
        ridge=GOLDEN.number("gamma") * share,
        evaluator=None,
        device="cpu",
        **changes,
    )
    give(strategy, torch.cat([GOLDEN(f"batch{i}/features") for i in range(4)]))
    head = strategy.model.head
    head.statistics.expansion.matrix = GOLDEN("projection")
    for i, part in enumerate(stream_of([GOLDEN(f"batch{i}/labels") for i in range(4)])):
        fit(strategy, [part])
        head(GOLDEN("test_features"))  # W is solved for when it is needed
        n = GOLDEN(f"batch{i}/{name}").shape[1]
        GOLDEN.close(head.weight[:, :n], f"batch{i}/{name}", atol=1e-9)

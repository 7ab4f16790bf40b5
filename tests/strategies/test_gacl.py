"""GACL and AIR: the published recursions' weights from a stream."""

from typing import Any

import pytest
import torch

from cl_prompts.strategies import AIR, GACL
from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.toy_vits import tiny_vit
from tests.toys import fit

GOLDEN = Golden("analytic")


@pytest.mark.parametrize(
    ("kind", "share", "changes", "name"),
    [
        (GACL, 1, {}, "weight"),
        (GACL, 1, {"augmented_views": True, "online_iter": 3}, "weight_three_passes"),
        (GACL, 1 / 3, {}, "weight_three_passes"),
        (AIR, 1, {"balance_over": "range"}, "weight_balanced"),
    ],
)
def test_the_published_run(kind: Any, share: float, changes: dict[str, Any], name: str) -> None:
    strategy = kind(
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
    getattr(head, "statistics", head).expansion.matrix = GOLDEN("projection")
    for i, part in enumerate(stream_of([GOLDEN(f"batch{i}/labels") for i in range(4)])):
        fit(strategy, [part])
        head(GOLDEN("test_features"))  # W is solved for when it is needed
        n = GOLDEN(f"batch{i}/{name}").shape[1]
        GOLDEN.close(head.weight[:, :n], f"batch{i}/{name}", atol=1e-9)
    if kind is AIR:
        GOLDEN.close(head._scores(GOLDEN("test_features")), "test_scores_balanced", atol=1e-9)

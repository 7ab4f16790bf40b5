"""AIR on a stream: published weights, and classes that count the same however rare."""

from __future__ import annotations

import torch

from cl_prompts.strategies import AIR
from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.toy_data import experiences
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

GOLDEN = Golden("analytic")


def test_the_published_run() -> None:
    strategy = AIR(
        backbone=tiny_vit(embed_dim=12),
        n_classes=7,
        projection=20,
        ridge=GOLDEN.number("gamma"),
        balance_over="range",
        evaluator=None,
        device="cpu",
    )
    give(strategy, torch.cat([GOLDEN(f"batch{i}/features") for i in range(4)]))
    head = strategy.model.head
    head.expansion.matrix = GOLDEN("projection")
    for i, part in enumerate(stream_of([GOLDEN(f"batch{i}/labels") for i in range(4)])):
        fit(strategy, [part])
        head(GOLDEN("test_features"))  # W is solved for when it is needed
        n = len(GOLDEN(f"batch{i}/counts"))
        GOLDEN.close(head.weight[:, :n], f"batch{i}/weight_balanced", atol=1e-9)
    GOLDEN.close(head._scores(GOLDEN("test_features")), "test_scores_balanced", atol=1e-9)


def test_a_class_weighs_the_same_however_rare_it_is() -> None:
    air = fit(make("air"), experiences())
    v, count = air.model.head.class_weights(), air.model.head.count
    torch.testing.assert_close(v * count, torch.full_like(v, float((v * count).mean())))

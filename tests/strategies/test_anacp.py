"""AnaCP on a stream: published numbers through the strategy, and its settings."""

import torch

from tests.golden_numbers import Golden
from tests.strategies.given_features import give, stream_of
from tests.toy_vits import tiny_vit
from tests.toys import fit, make

GOLDEN = Golden("anacp", "later")


def test_the_published_covariance_of_a_run() -> None:
    tasks = range(len([key for key in GOLDEN.keys("shared/task") if key.endswith("/labels")]))
    labels = [GOLDEN(f"shared/task{t}/labels") for t in tasks]
    sizes = [len(of) for of in labels]
    classes, numbers = torch.cat(labels).unique(return_inverse=True)
    features = [GOLDEN(f"shared/task{t}/features") for t in tasks]
    dim = features[0].shape[1]
    strategy = make(
        "anacp",
        n_classes=len(classes),
        backbone=tiny_vit(embed_dim=dim, num_heads=2),
        form="released",
        train_mb_size=max(sizes),
    )
    give(strategy, torch.cat(features))
    for t, part in enumerate(stream_of(list(numbers.split(sizes)))):
        fit(strategy, [part])
        found = strategy.model.head.shared_covariance()
        GOLDEN.close_double(found, f"shared/task{t}/shared_covariance")

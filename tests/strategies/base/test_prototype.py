"""The strategies without gradients: each sample enters the statistics once."""

import pytest
import torch
from avalanche.benchmarks import nc_benchmark

from tests.strategies.shared import noted
from tests.toy_data import TEST, TRAIN, Blobs, experiences
from tests.toys import fit, make

#: one of each kind of statistics; that those of every classifier take any order, its own tests show
every = pytest.mark.parametrize("kind", ["ranpac", "klda", "l3a"])
IMAGES = Blobs(48, seed=2).images


@every
def test_order_and_batches_make_no_difference(kind: str) -> None:
    data = Blobs(TRAIN, seed=1), Blobs(TEST, seed=2)
    shuffled = nc_benchmark(*data, n_experiences=2, task_labels=False, seed=1)
    # A choice sees what is there by then, L3A weighs a sample by the counts so far, and a kernel is
    # as wide as the first batch.
    settings = {
        "ranpac": {"held_out": 0},
        "l3a": {"weights": "none"},
        "klda": {"gamma": 0.01},
    }.get(kind, {})
    other = fit(make(kind, train_mb_size=7, **settings), shuffled.train_stream)
    want = fit(make(kind, **settings), experiences()).model(IMAGES)
    torch.testing.assert_close(other.model(IMAGES), want, rtol=1e-4, atol=1e-4)


@every
def test_a_sample_counts_once_unless_views_are_wanted(kind: str) -> None:
    once = fit(make(kind, online_iter=3, train_epochs=2), experiences())
    assert once.model.head.count.sum() == TRAIN == once.samples_seen
    views = make(kind, online_iter=3, train_epochs=2, augmented_views=True)
    fit(views, experiences())
    assert views.model.head.count.sum() == 6 * TRAIN
    assert views.samples_seen == 2 * TRAIN


@every
def test_the_loss_is_0(kind: str) -> None:
    strategy = make(kind)
    losses = noted(strategy, "after_step", lambda *_: float(strategy.loss), experiences())
    assert set(losses) == {0.0}

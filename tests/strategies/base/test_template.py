"""What differs from Avalanche's own template: order, loaders, overlapping test sets."""

from __future__ import annotations

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.strategies import AnytimeEvaluation
from tests.toy_data import benchmark, experiences
from tests.toys import fit, make, same, watch, weights


def test_loader_arguments_are_known_or_refused() -> None:
    strategy, (first, *_) = make("linear_probe"), experiences()
    with pytest.raises(
        InputError, match="unknown loader argument 'num_worker': did you mean 'num_workers'"
    ):
        strategy.train(first, eval_streams=[], num_worker=2)
    with pytest.raises(InputError, match="'drop_last'"):
        strategy.train(first, eval_streams=[], drop_last=True)


@pytest.mark.parametrize("shuffle", [True, False])
def test_a_stream_may_be_shuffled_and_every_sample_comes_once(shuffle: bool) -> None:
    strategy, labels = make("linear_probe", online_iter=1), []
    watch(strategy, "training_loss", lambda output, batch: labels.append(batch.labels))
    first, *_ = experiences("class_incremental")
    strategy.train(first, eval_streams=[], shuffle=shuffle)
    truth = torch.as_tensor(list(first.dataset.targets))
    found = torch.cat(labels)
    assert torch.equal(found, truth) != shuffle
    assert torch.equal(found.sort().values, truth.sort().values)


def test_overlapping_test_sets_are_evaluated_one_at_a_time() -> None:
    bench = benchmark("mlcil")
    strategy = fit(make("linear_probe", "mlcil"), [bench.train_stream[0]])
    assert strategy.eval(bench.test_stream[0]) is not None
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.eval(bench.test_stream)
    with pytest.raises(InputError, match="3 test sets overlap"):
        strategy.train(bench.train_stream[1], eval_streams=[bench.test_stream])
    for part in (bench.test_stream, bench.test_stream[0]):
        with pytest.raises(InputError, match="give AnytimeEvaluation the whole test set"):
            AnytimeEvaluation(part)


def test_workers_load_the_same_batches() -> None:
    stream = experiences()[:1]
    whole = fit(make("linear_probe"), stream)
    other = make("linear_probe")
    other.train(stream, eval_streams=[], num_workers=1)
    assert same(weights(whole), weights(other))

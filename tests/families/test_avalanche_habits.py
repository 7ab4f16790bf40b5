"""What users of Avalanche do with any strategy: copy it, and regularise it with their plugins."""

import copy

import pytest
import torch
from avalanche.training.plugins import EWCPlugin, MASPlugin

from cl_prompts.strategies import AnytimeEvaluation
from tests.families.runs import begin
from tests.toy_data import benchmark, experiences
from tests.toys import close, fit, weights

#: one of each way to hold state: prompts, lanes, experts, a buffer, a teacher, importance,
#: statistics, adapters. The family of growth trains a copy of each of the others.
COPIED = ("mvp", "multi_lane", "flyprompt", "derpp", "lwf", "ewcpp", "ranpac", "ease")


@pytest.mark.parametrize("kind", COPIED)
def test_a_copy_of_a_trained_strategy_learns_on_alone(kind: str) -> None:
    stream = benchmark("class_incremental")
    anytime = AnytimeEvaluation(stream.test_stream, every=20)
    first = begin(kind, "class_incremental", plugins=[anytime])
    fit(first, [stream.train_stream[0]])
    before = weights(first)
    second = copy.deepcopy(first)
    close(before, weights(second))
    fit(second, [stream.train_stream[1]])
    close(before, weights(first))  # the original is left alone
    fit(first, [stream.train_stream[1]])
    close(weights(first), weights(second))
    (watcher,) = (p for p in second.plugins if isinstance(p, AnytimeEvaluation))
    assert watcher is not anytime
    assert watcher.results == anytime.results


@pytest.mark.parametrize("kind", ["linear_probe", "l2p", "mvp", "fine_tuning"])
@pytest.mark.parametrize("plugin", [MASPlugin, lambda: EWCPlugin(1.0)])
def test_importance_plugins_keep_the_loss_finite(kind: str, plugin: type) -> None:
    regulariser = plugin()
    strategy = begin(kind, "class_incremental", plugins=[regulariser])
    fit(strategy, experiences("class_incremental"))
    assert bool(torch.isfinite(strategy.loss))
    assert not strategy.model.finite_forward  # for plugins only
    if isinstance(regulariser, MASPlugin):
        found = [value.data for value in regulariser.importance.values()]
        assert all(bool(torch.isfinite(value).all()) for value in found)
        assert any(bool(value.any()) for value in found)

"""A run that takes over passes of another one has its numbers, to the last bit, and its counts."""

from __future__ import annotations

import pytest

from cl_prompts.backbones.shared_passes import PassesOfRun, SharedPasses
from tests.families.runs import begin
from tests.toy_data import benchmark
from tests.toys import ALL, fit, same, trained_on, weights


@pytest.mark.parametrize("kind", ALL)
def test_a_second_run_takes_over_what_is_frozen_and_is_the_same(kind: str) -> None:
    (scenario, *_) = trained_on(kind)
    shared = SharedPasses(2**20)
    found = []
    for _ in range(2):
        passes = PassesOfRun(shared)
        strategy = begin(kind, scenario)
        # MULTI-LANE summarises tokens on the way, and a pass of adapters is nobody else's.
        alike = not strategy.model.backbone.trainable and strategy.model.cache_keys()
        stream = benchmark(scenario).train_stream
        with passes.serving(strategy.model.backbone):
            fit(strategy, stream if strategy.whole_stream else stream[:1])
        found.append((weights(strategy), strategy.model.backbone.counter.counts()))
    (first, counted), (second, counted_again) = found
    assert same(first, second)
    assert counted == counted_again
    assert bool(passes.taken_over) == bool(alike and kind != "ease")

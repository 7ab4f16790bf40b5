"""KeepOrder refuses to shuffle a blurry stream."""

from typing import Any

import pytest
import torch
from avalanche.training import Naive, Replay

from cl_prompts.errors import InputError
from cl_prompts.strategies import AnytimeEvaluation, KeepOrder
from tests.strategies.shared import ordinary
from tests.toy_data import benchmark

SHUFFLED = "the order of this stream is part of its scenario: train with .*shuffle=False"


@pytest.mark.parametrize(
    "watcher", [lambda stream: KeepOrder(), lambda stream: AnytimeEvaluation(stream[0].dataset)]
)
@pytest.mark.parametrize(("kind", "options"), [(Naive, {}), (Replay, {"mem_size": 4})])
def test_avalanche_strategies_are_told(kind: Any, options: dict[str, Any], watcher: Any) -> None:
    stream = benchmark("si_blurry").train_stream
    strategy = ordinary(kind, [watcher(stream)], **options)
    before = [p.clone() for p in strategy.model.parameters()]
    with pytest.raises(InputError, match=SHUFFLED):
        strategy.train(stream[0])
    assert all(torch.equal(a, b) for a, b in zip(before, strategy.model.parameters(), strict=True))
    strategy = ordinary(kind, [watcher(stream)], **options)
    strategy.train(stream[0], shuffle=False)
    stream[1].ordered = False  # as the user may say
    strategy.train(stream[1])
    strategy.train(stream[2:], shuffle=False)
    assert strategy.clock.train_exp_counter == len(stream)

"""KeepOrder refuses to shuffle a blurry stream."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.training import Naive, Replay

from cl_prompts.errors import InputError
from cl_prompts.strategies import KeepOrder
from tests.strategies.shared import ordinary
from tests.toy_data import benchmark

SHUFFLED = "the order of this stream is part of its scenario: train with .*shuffle=False"


@pytest.mark.parametrize(("kind", "options"), [(Naive, {}), (Replay, {"mem_size": 4})])
def test_avalanche_strategies_are_told(kind: Any, options: dict[str, Any]) -> None:
    stream = benchmark("si_blurry").train_stream
    strategy = ordinary(kind, [KeepOrder()], **options)
    before = [p.clone() for p in strategy.model.parameters()]
    with pytest.raises(InputError, match=SHUFFLED):
        strategy.train(stream[0])
    assert all(torch.equal(a, b) for a, b in zip(before, strategy.model.parameters(), strict=True))
    strategy = ordinary(kind, [KeepOrder()], **options)
    strategy.train(stream, shuffle=False)
    assert strategy.clock.train_exp_counter == len(stream)

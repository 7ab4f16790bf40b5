"""A blurry stream is not shuffled by a strategy that does not know of order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from avalanche.models import SimpleMLP
from avalanche.training import Naive, Replay

from cl_prompts.errors import InputError
from cl_prompts.strategies import KeepOrder
from tests.toy_data import benchmark

SHUFFLED = "the order of this stream is part of its scenario: train with .*shuffle=False"


def foreign(kind: Any, **options: Any) -> Any:
    model = SimpleMLP(num_classes=6, input_size=3 * 16 * 16, hidden_size=4)
    return kind(
        model=model,
        optimizer=torch.optim.SGD(model.parameters(), 0.01),
        criterion=torch.nn.CrossEntropyLoss(),
        plugins=[KeepOrder()],
        evaluator=None,
        train_mb_size=20,
        **options,
    )


@pytest.mark.parametrize(("kind", "options"), [(Naive, {}), (Replay, {"mem_size": 4})])
def test_avalanche_strategies_are_told(kind: Any, options: dict[str, Any]) -> None:
    stream = benchmark("si_blurry").train_stream
    strategy = foreign(kind, **options)
    before = [p.clone() for p in strategy.model.parameters()]
    with pytest.raises(InputError, match=SHUFFLED):
        strategy.train(stream[0])
    assert all(torch.equal(a, b) for a, b in zip(before, strategy.model.parameters(), strict=True))
    strategy = foreign(kind, **options)
    strategy.train(stream, shuffle=False)
    assert strategy.clock.train_exp_counter == len(stream)

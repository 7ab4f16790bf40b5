"""State: registered by name, and that of any plugin, in a strategy's state."""

from typing import Any

import pytest
from avalanche.core import SupervisedPlugin

from cl_prompts.strategies import StrategyPlugin
from tests.toy_data import experiences
from tests.toys import fit, make, same, weights


class Counting(SupervisedPlugin):
    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def after_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
        self.seen += len(strategy.mb_x)

    def state_dict(self) -> dict[str, int]:
        return {"seen": self.seen}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.seen = state["seen"]


class Noting(StrategyPlugin):
    def attach(self, strategy: Any) -> None:
        self.last = -1
        self.state.add("last")

    def before_update(self, strategy: Any, **kwargs: Any) -> None:
        self.last = strategy.updates


@pytest.mark.parametrize("kind", [Counting, Noting])
def test_the_state_of_any_plugin_is_saved_and_restored(kind: Any) -> None:
    stream = experiences()[:1]
    first = fit(make("linear_probe", plugins=[SupervisedPlugin(), kind()]), stream)
    second = make("linear_probe", plugins=[kind()])  # one without state does not count
    assert first.plugin(kind).state_dict() != second.plugin(kind).state_dict()
    second.load_state_dict(first.state_dict(), stream)
    assert first.plugin(kind).state_dict() == second.plugin(kind).state_dict()


@pytest.mark.parametrize("kind", ["er", "lwf"])
def test_a_state_in_memory_stays_of_one_moment(kind: str) -> None:
    stream = experiences()[:2]
    whole = fit(make(kind), stream[:1])
    kept = whole.state_dict()
    fit(whole, stream[1:])
    for _ in range(2):  # what was loaded is a copy, too
        later = make(kind)
        later.load_state_dict(kept, stream[:1])
        assert same(weights(fit(later, stream[1:])), weights(whole))

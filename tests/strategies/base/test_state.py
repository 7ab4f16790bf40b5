"""State: registered by name, and that of any plugin, in a strategy's state."""

from __future__ import annotations

from collections import Counter, defaultdict
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.errors import InputError
from cl_prompts.strategies import PromptAveraging, StrategyPlugin
from cl_prompts.strategies.base.state import Registered
from tests.toy_data import experiences
from tests.toy_vits import lively_vit
from tests.toys import fit, make, same, weights


def test_values_of_every_kind_come_back_and_are_copies() -> None:
    owner = SimpleNamespace(
        n=3,
        values=torch.ones(2),
        listed=[torch.zeros(1)],
        generator=torch.Generator().manual_seed(1),
        module=torch.nn.Linear(2, 2),
        missing=None,
    )
    state = Registered(owner)
    state.add(*vars(owner))
    saved = state.state_dict()
    want = torch.rand(3, generator=owner.generator)
    weight = owner.module.weight.detach().clone()
    owner.n = 0
    owner.missing = 1
    owner.values.zero_()
    owner.listed[0].fill_(5)
    with torch.no_grad():
        owner.module.weight.zero_()
    for _ in range(2):  # what was loaded is a copy, too
        state.load_state_dict(saved)
        assert (owner.n, owner.missing) == (3, None)
        assert owner.values.tolist() == [1, 1]
        assert owner.listed[0].tolist() == [0]
        assert torch.equal(owner.module.weight, weight)
        assert torch.equal(torch.rand(3, generator=owner.generator), want)
        owner.listed[0].fill_(5)
        owner.values.zero_()


def test_dictionaries_stay_of_their_kind() -> None:
    owner = SimpleNamespace(counts=Counter(cat=2), lists=defaultdict(list, a=[1]))
    state = Registered(owner)
    state.add("counts", "lists")
    saved = {name: dict(value) for name, value in state.state_dict().items()}  # as files hold them
    owner.counts["dog"] += 1
    owner.lists["b"].append(2)
    state.load_state_dict(saved)
    assert owner.counts == Counter(cat=2)
    assert owner.counts["dog"] == 0
    assert dict(owner.lists) == {"a": [1]}
    assert owner.lists["b"] == []


class Counting(SupervisedPlugin):
    """A user's plugin with state."""

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
    """A plugin with registered state."""

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


@pytest.mark.parametrize("kind", ["mvp", "er", "ranpac", "lwf"])
def test_a_state_in_memory_stays_of_one_moment(kind: str) -> None:
    stream = experiences()[:2]
    whole = fit(make(kind), stream[:1])
    kept = whole.state_dict()
    fit(whole, stream[1:])
    for _ in range(2):  # what was loaded is a copy, too
        later = make(kind)
        later.load_state_dict(kept, stream[:1])
        assert same(weights(fit(later, stream[1:])), weights(whole))


@pytest.mark.parametrize(
    ("saved", "own", "says"),
    [
        ([], [Counting], "has plugins none, and this strategy has Counting"),
        ([Counting], [], "has plugins Counting, and this strategy has none"),
        ([Counting, PromptAveraging], [PromptAveraging, Counting], "with the same plugins"),
    ],
)
def test_other_plugins_are_refused(saved: list[Any], own: list[Any], says: str) -> None:
    states = [make("one_prompt", plugins=[kind() for kind in kinds]) for kinds in (saved, own)]
    before = states[1].model.head.weight.clone()
    with pytest.raises(InputError, match=says):
        states[1].load_state_dict(states[0].state_dict())
    assert torch.equal(states[1].model.head.weight, before)


class Descent(torch.optim.Optimizer):
    """An optimizer of somebody's own."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        for group in self.param_groups:
            for parameter in group["params"]:
                steps = self.state[parameter].setdefault("steps", torch.tensor(0.0)).add_(1)
                parameter.sub_(group["lr"] / steps * parameter.grad)


def test_an_optimizer_of_ones_own_goes_on() -> None:
    def strategy() -> Any:
        model = make("linear_probe").model
        return make("linear_probe", model=model, optimizer=Descent(model.head.parameters(), 0.1))

    whole, first, second = strategy(), strategy(), strategy()
    fit(whole, experiences()[:2])
    fit(first, experiences()[:1])
    second.load_state_dict(first.state_dict(), experiences()[:1])
    fit(second, experiences()[1:2])
    assert same(weights(whole), weights(second))


@pytest.mark.parametrize("kind", ["coda_prompt", "ease", "flyprompt", "linear_probe"])
def test_a_strategy_goes_back_to_a_state_of_its_own(kind: str) -> None:
    tasks = experiences("class_incremental")
    strategy = fit(make(kind, "class_incremental"), tasks[:1])
    state = strategy.state_dict()
    fit(strategy, tasks[1:])
    first = weights(strategy)
    strategy.load_state_dict(state, tasks[:1])
    fit(strategy, tasks[1:])
    assert same(weights(strategy), first)


def test_a_state_belongs_to_its_backbone() -> None:
    state = make("linear_probe").state_dict()
    backbone = lively_vit()
    backbone.mean[0, 1] += 0.1
    other = make("linear_probe", backbone=backbone)
    other.model.head.weight.data += 1
    before = other.model.head.weight.clone()
    with pytest.raises(InputError, match="the saved state was learned on a backbone with other"):
        other.load_state_dict(state)
    assert torch.equal(other.model.head.weight, before)


def test_an_interrupted_callback_leaves_no_place() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    stream = experiences()
    strategy = make("linear_probe")
    strategy.between_batches = interrupted
    with pytest.raises(KeyboardInterrupt):
        fit(strategy, stream[:1])
    strategy.between_batches = None
    assert fit(strategy, stream[1:2]).state_dict()["place"] is None

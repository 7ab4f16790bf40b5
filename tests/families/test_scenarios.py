"""Every strategy on every scenario, and the order in which streams are trained."""

from typing import Any

import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.errors import InputError
from tests.families.runs import finished
from tests.toy_data import ANNOUNCED, BENCHMARKS, MULTI_LABEL_SCENARIOS, TASKS, TRAIN, experiences
from tests.toys import LOOKED_AT, TABLE, does_something_at_ends, fit, learnable, make, trained_on

#: besides those that families look at, which announce and order as these do: one in turn for who
#: acts at the ends of tasks
OTHERS = [name for name in BENCHMARKS if name not in LOOKED_AT]


def looked_at(kind: str, name: str) -> bool:
    if name in LOOKED_AT:
        return name in trained_on(kind) or not learnable(kind, name)
    turn = OTHERS[list(TABLE).index(kind) % len(OTHERS)]
    return does_something_at_ends(kind) and name == turn


CASES = [
    pytest.param(kind, name, marks=[] if name in trained_on(kind) else pytest.mark.slow)
    for kind in TABLE
    for name in BENCHMARKS
    if looked_at(kind, name)
]


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_every_strategy_trains_or_says_in_a_sentence_why_not(kind: str, scenario: str) -> None:
    if not learnable(kind, scenario):
        strategy = make(kind, scenario)
        says = f"{type(strategy).__name__} learns one label per image"
        with pytest.raises(InputError, match=says):
            fit(strategy, experiences(scenario))
        return
    run = finished(kind, scenario)
    strategy = run.strategy
    anytime = run.anytime
    assert strategy.model.seen.all()
    told = scenario in ANNOUNCED or strategy.boundaries
    announced = 0 if not told else 1 if strategy.whole_stream else TASKS
    assert strategy.tasks_started == announced
    assert len(anytime.curve.points()) >= (1 if strategy.whole_stream else 2)
    last = anytime.results["map_last" if scenario in MULTI_LABEL_SCENARIOS else "a_last"]
    assert 0 <= last <= 1
    # An image with labels of several tasks comes in each of them, and counts once in each.
    stream = experiences(scenario)
    samples = TRAIN if strategy.whole_stream else sum(len(part.dataset) for part in stream)
    assert strategy.samples_seen == samples * strategy.train_epochs
    rehearsals = strategy.updates - strategy.clock.train_iterations
    assert (rehearsals > 0) == kind.startswith("rainbow")


@pytest.mark.parametrize("scenario", BENCHMARKS)
def test_a_stream_that_is_ordered_is_trained_in_its_order(scenario: str) -> None:
    seen: list[torch.Tensor] = []

    class Watch(SupervisedPlugin):
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            seen.append(strategy.mb_x.clone())

    first, *_ = experiences(scenario)
    fit(make("linear_probe", scenario, online_iter=1, plugins=[Watch()]), [first])
    images = torch.stack([row[0] for row in first.dataset])
    in_order = torch.equal(torch.cat(seen), images)
    assert in_order == bool(getattr(first, "ordered", False))

"""Every strategy on every scenario, and what every scenario's stream promises."""

from typing import Any

import numpy as np
import pytest
import torch
from avalanche.core import SupervisedPlugin

from cl_prompts.errors import InputError
from tests.families.runs import finished
from tests.toy_data import (
    ANNOUNCED,
    BENCHMARKS,
    MULTI_LABEL_SCENARIOS,
    N_CLASSES,
    TASKS,
    TRAIN,
    Blobs,
    Scenes,
    experiences,
)
from tests.toys import (
    LOOKED_AT,
    TABLE,
    does_something_at_ends,
    fit,
    learnable,
    make,
    trained_on,
)

#: besides those that families look at, which announce and order as these do: one in turn for who
#: acts at the ends of tasks
OTHERS = [name for name in BENCHMARKS if name not in LOOKED_AT]


def looked_at(kind: str, name: str) -> bool:
    """Whether a strategy is trained on a scenario, or refuses it."""
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
    assert last is not None
    assert 0 <= last <= 1
    # An image with labels of several tasks comes in each of them, and counts once in each.
    stream = experiences(scenario)
    samples = TRAIN if strategy.whole_stream else sum(len(part.dataset) for part in stream)
    assert strategy.samples_seen == samples * strategy.train_epochs
    rehearsals = strategy.updates - strategy.clock.train_iterations
    assert (rehearsals > 0) == kind.startswith("rainbow")


# --------------------------------------------------------------------------------- streams

every_scenario = pytest.mark.parametrize("scenario", BENCHMARKS)


def items(experience: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of an experience, in its order."""
    rows = [experience.dataset[i] for i in range(len(experience.dataset))]
    return torch.stack([row[0] for row in rows]), torch.stack(
        [torch.as_tensor(row[1]) for row in rows]
    )


@every_scenario
def test_a_stream_shows_every_sample_with_its_labels(scenario: str) -> None:
    several = scenario in MULTI_LABEL_SCENARIOS
    data: Any = (Scenes if several else Blobs)(TRAIN, seed=1)
    truth = torch.from_numpy(np.asarray(data.targets))
    shown: list[int] = []
    for experience in experiences(scenario):
        images, labels = items(experience)
        indices = torch.tensor(experience.indices.tolist())
        assert torch.equal(images, data.images[indices])
        if several:  # labels of other tasks are hidden
            columns = sorted(experience.classes_in_this_experience)
            assert torch.equal(labels[:, columns].long(), truth[indices][:, columns].long())
            assert not np.delete(labels.numpy(), columns, axis=1).any()
        else:
            assert torch.equal(labels, truth[indices])
            assert set(labels.tolist()) <= experience.classes_in_this_experience
        shown += indices.tolist()
    assert set(shown) == set(range(TRAIN))
    if scenario != "mlcil":  # there an image comes once in each task that one of its classes is of
        assert len(shown) == TRAIN


@every_scenario
def test_a_stream_says_what_is_announced_and_leaves_no_class_out(scenario: str) -> None:
    stream = experiences(scenario)
    assert len(stream) == TASKS
    assert {experience.boundaries for experience in stream} == {scenario in ANNOUNCED}
    classes = [experience.classes_in_this_experience for experience in stream]
    assert set().union(*classes) == set(range(N_CLASSES))


@every_scenario
def test_a_stream_that_is_ordered_is_trained_in_its_order(scenario: str) -> None:
    seen: list[torch.Tensor] = []

    class Watch(SupervisedPlugin):
        def before_update(self, strategy: Any, **kwargs: Any) -> None:
            seen.append(strategy.mb_x.clone())

    first, *_ = experiences(scenario)
    fit(make("linear_probe", scenario, online_iter=1, plugins=[Watch()]), [first])
    in_order = torch.equal(torch.cat(seen), items(first)[0])
    assert in_order == bool(getattr(first, "ordered", False))

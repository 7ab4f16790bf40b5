"""A run that is stopped and resumed ends exactly where it would have ended."""

import io
import random
from itertools import count
from typing import Any

import pytest
import torch

from tests.families.runs import begin, finished
from tests.toy_data import experiences
from tests.toys import OTHERS, VARIANTS, cases, fit, make, same, weights

#: a scenario that shuffles inside its tasks
SHUFFLED = "class_incremental"

#: a state does not depend on the ViT that its features are of
CASES = cases(
    "si_blurry",
    "class_incremental",
    "mlcil",
    "si_blurry_multi_label",
    variants=[kind for kind in VARIANTS if kind not in OTHERS],
)


def as_file(state: dict[str, Any]) -> Any:
    """State after saving and loading a run folder's checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


class Stop(Exception):
    """Where the first half of a run ends."""


def stopped_after(strategy: Any, stream: list[Any], batches: int, **how: Any) -> dict[str, Any]:
    """Train up to a stream batch, in the middle of an experience or not; the state there."""
    passed = count(1)
    states = []

    def between_batches() -> None:
        if next(passed) == batches:
            states.append(as_file(strategy.state_dict()))
            raise Stop

    strategy.between_batches = between_batches
    with pytest.raises(Stop):
        fit(strategy, stream, **how)
    # Left to the garbage collector, its processes would block some later test for ten seconds.
    strategy.replay.close()
    return states[0]


def resumed(strategy: Any, state: dict[str, Any], stream: list[Any], **how: Any) -> Any:
    """A new strategy, trained from the state of a stopped one to the end of the stream."""
    begun = state["experiences"]
    strategy.load_state_dict(state, stream[: begun + (state["place"] is not None)])
    return fit(strategy, stream[begun:], **how)


def taken_up(kind: str, scenario: str, state: dict[str, Any]) -> tuple[Any, list[Any]]:
    """Another strategy in the state of a stopped one, and the experiences that are left."""
    strategy = begin(kind, scenario)
    stream = experiences(scenario)
    torch.rand(11)  # what else draws random numbers is of no account
    if strategy.whole_stream:
        strategy.load_state_dict(state)
        return strategy, stream
    begun = state["experiences"]
    strategy.load_state_dict(state, stream[: begun + (state["place"] is not None)])
    return strategy, stream[begun:]


def alike(first: Any, second: Any) -> None:
    """Assert that two strategies have the same weights, and learn the same of them."""
    assert same(weights(first), weights(second))
    trainable = [[p.requires_grad for p in s.model.parameters()] for s in (first, second)]
    assert trainable[0] == trainable[1]


@pytest.mark.parametrize(("kind", "scenario"), CASES)
def test_a_run_resumes_exactly_inside_an_experience_and_after_one(kind: str, scenario: str) -> None:
    """Interrupted twice: in either order inside an experience, at any batch of it, and after one.

    The whole run was evaluated on the way, and global random state was another: neither matters.
    """
    whole = finished(kind, scenario)
    chance = random.Random(f"{kind} {scenario}")
    strategy = begin(kind, scenario)
    left = experiences(scenario)
    # Joint training has no task boundary to stop at.
    places = ["inside"] if strategy.whole_stream else chance.sample(["inside", "after"], 2)
    for place in places:
        if place == "inside":
            batches = chance.randint(1, 5 if strategy.whole_stream else 3)
            state = stopped_after(strategy, left, batches)
            strategy, left = taken_up(kind, scenario, state)
        else:
            stopped = fit(strategy, left[:1])
            strategy, left = taken_up(kind, scenario, as_file(stopped.state_dict()))
            alike(stopped, strategy)
    fit(strategy, left)
    assert same(whole.after, weights(strategy))
    assert torch.equal(whole.strategy.buffer.slots, strategy.buffer.slots)
    assert strategy.samples_seen == whole.strategy.samples_seen
    assert strategy.updates == whole.strategy.updates


def test_several_epochs_resume_in_the_order_of_their_own() -> None:
    settings = {"train_epochs": 3, "online_iter": 1}
    whole = fit(make("linear_probe", SHUFFLED, **settings), experiences(SHUFFLED))
    for batches in (1, 4, 7):
        first = make("linear_probe", SHUFFLED, **settings)
        state = stopped_after(first, experiences(SHUFFLED), batches)
        second = make("linear_probe", SHUFFLED, **settings)
        assert same(weights(whole), weights(resumed(second, state, experiences(SHUFFLED))))


@pytest.mark.parametrize("kind", ["linear_probe", "mvp", "mvp_tokens", "derpp"])
def test_cached_work_survives_a_stop(kind: str) -> None:
    """Two epochs over the same views, stopped in the second."""
    settings: dict[str, Any] = {"one_view": True, "train_epochs": 2}
    whole = fit(make(kind, SHUFFLED, **settings), experiences(SHUFFLED))
    state = stopped_after(make(kind, SHUFFLED, **settings), experiences(SHUFFLED), batches=5)
    assert state["feature_cache"]["parts"]
    second = resumed(make(kind, SHUFFLED, **settings), state, experiences(SHUFFLED))
    assert same(weights(whole), weights(second))
    assert whole.feature_cache.reused == second.feature_cache.reused

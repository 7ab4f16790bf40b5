"""Growth of one strategy: its plugins, its optimizer, and what it refuses."""

import pytest
import torch

from cl_prompts.errors import InputError
from tests.toy_data import experiences
from tests.toys import fit, make, same, weights


def test_rows_do_not_depend_on_how_many_classes_come_together() -> None:
    at_once = make("linear_probe")
    at_once.grow(2)
    one_by_one = make("linear_probe")
    one_by_one.grow(1)
    one_by_one.grow(1)
    other = make("linear_probe", seed=1)
    other.grow(2)
    assert same(weights(at_once), weights(one_by_one))
    assert not torch.equal(at_once.model.head.weight[6:], other.model.head.weight[6:])
    assert at_once.model.head.weight[6:].std() > 0


def test_growth_keeps_learned_weights_and_global_random_states() -> None:
    strategy = fit(make("mvp_r"), experiences())
    before = weights(strategy)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    strategy.grow(2)
    assert torch.equal(torch.rand(3), expected)
    after = weights(strategy)
    assert torch.equal(after["head.weight"][:6], before["head.weight"])
    assert torch.equal(after["pools.0.values"], before["pools.0.values"])
    assert after["seen"].tolist() == [True] * 6 + [False] * 2
    momentum = strategy.optimizer.state[strategy.model.head.weight]["exp_avg"]
    assert momentum[:6].abs().sum() > 0
    assert momentum[6:].abs().sum() == 0


def test_growth_that_the_method_cannot_have_leaves_it_as_it_was() -> None:
    strategy = make("coda_prompt", "class_incremental")
    fit(strategy, experiences("class_incremental")[:1])
    before = weights(strategy)
    with pytest.raises(InputError, match="18 components cannot be orthogonal"):
        strategy.grow(2, tasks=3)
    assert same(before, weights(strategy))
    fit(strategy, experiences("class_incremental")[1:])
    untouched = fit(make("coda_prompt", "class_incremental"), experiences("class_incremental"))
    assert same(weights(untouched), weights(strategy))


def test_refusals() -> None:
    with pytest.raises(InputError, match="Joint learns the whole stream at once"):
        make("joint").grow(1)
    probe = make("linear_probe")
    for classes in (-1, 1.5, "ship"):
        with pytest.raises(InputError, match="classes"):
            probe.grow(classes)

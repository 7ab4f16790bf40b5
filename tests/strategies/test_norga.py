"""NoRGa: gates of HiDe-Prompt's prefixes; their formula is tested in prompts/test_gates.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl_prompts.strategies import HeadAlignment, NoRGa
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make, watch


@pytest.mark.parametrize("scenario", ["class_incremental", "si_blurry"])
def test_gates_train_with_the_first_prefix_and_are_fixed_then(scenario: str) -> None:
    strategy = make("norga", scenario, pool_size=3)
    seen = []
    gates = strategy.model.pools[0].gates

    def note(*_: Any) -> None:
        scales = torch.stack([gate.scale.detach().clone() for gate in gates])
        seen.append((strategy.router.current, scales))

    watch(strategy, "training_loss", note)
    fit(strategy, experiences(scenario))
    first = [scales for slot, scales in seen if slot == 0]
    later = [scales for slot, scales in seen if slot > 0]
    assert torch.equal(first[0], torch.ones_like(first[0]))
    assert not torch.equal(first[-1], first[0])
    assert all(torch.equal(scales, later[0]) for scales in later)
    trained = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    assert not any(gate.scale is p for gate in gates for p in trained)


def test_without_its_second_factor_a_gate_is_hide_prompt() -> None:
    hide = make("hide_prompt")
    norga = make("norga")
    state = hide.model.pools[0].state_dict()
    norga.model.pools[0].pool.load_state_dict(state)
    norga.model.head.load_state_dict(hide.model.head.state_dict())
    images = Blobs(5, seed=3).images
    for strategy in (hide, norga):
        strategy.model.observe_classes(torch.arange(6))
    with torch.no_grad():
        want = hide.model.train()(images)
        assert not torch.allclose(norga.model.train()(images), want, atol=1e-4)
        for gate in norga.model.pools[0].gates:
            gate.scale[1] = 0
        torch.testing.assert_close(norga.model(images), want, atol=1e-5, rtol=1e-5)


def test_defaults_are_the_published_ones() -> None:
    found = {name: setting.default for name, setting in NoRGa.settings().items()}
    assert (found["train_mb_size"], found["prompt_lr"], found["lr"]) == (128, 0.015, 0.0015)
    (alignment,) = NoRGa.own_plugins
    assert isinstance(alignment, HeadAlignment)
    assert (alignment.statistics, alignment.lr) == ("covariance", 0.05)
    assert (found["activation"], found["layout"], found["momentum"]) == ("tanh", "own", 0.01)

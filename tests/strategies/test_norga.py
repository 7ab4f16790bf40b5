"""NoRGa: gates of HiDe-Prompt's prefixes; their formula is tested in prompts/test_gates.py."""

from typing import Any

import torch
from torch import Tensor

from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toys import make


def test_gates_train_with_the_first_prefix_and_are_fixed_then() -> None:
    strategy = make("norga", "class_incremental", pool_size=3)
    gates = strategy.model.pools[0].gates

    def scales_of(*_: Any) -> tuple[int, Tensor]:
        scales = torch.stack([gate.scale.detach().clone() for gate in gates])
        return strategy.router.current, scales

    seen = noted(strategy, "training_loss", scales_of, experiences("class_incremental"))
    first = [scales for slot, scales in seen if slot == 0]
    later = [scales for slot, scales in seen if slot > 0]
    assert torch.equal(first[0], torch.ones_like(first[0]))
    assert not torch.equal(first[-1], first[0])
    assert all(torch.equal(scales, later[0]) for scales in later)
    trained = [p for group in strategy.optimizer.param_groups for p in group["params"]]
    assert not any(gate.scale is p for gate in gates for p in trained)

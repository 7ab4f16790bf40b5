"""S-Prompt++: an independent prefix per task; what it shares with DualPrompt is tested there."""

from __future__ import annotations

import pytest
import torch

from tests.toy_data import experiences
from tests.toys import fit, make


@pytest.mark.parametrize("copy_previous", [False, True])
def test_a_slot_is_independent_unless_it_is_copied(copy_previous: bool) -> None:
    strategy = make("s_prompt", "class_incremental", copy_previous=copy_previous)
    fit(strategy, experiences("class_incremental")[:1])
    values = strategy.model.pools[-1].values
    key = strategy.model.selector.inner.key
    strategy.tasks_started = 2
    strategy.start_task(torch.ones(6, dtype=torch.bool))
    assert torch.equal(values[1], values[0]) == copy_previous
    assert not torch.equal(key[1], key[0])


def test_it_has_no_shared_prompt_and_one_slot_a_task() -> None:
    (pool,) = make("s_prompt", "class_incremental").model.pools
    assert len(pool.values) == 3
    assert len(make("s_prompt").model.pools[0].values) == 10
    assert len(make("s_prompt", pool_size=5).model.pools[0].values) == 5

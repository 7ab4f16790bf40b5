"""S-Prompt++: an independent prefix per task; what it shares with DualPrompt is tested there."""

from __future__ import annotations

from tests.toys import make


def test_it_has_no_shared_prompt_and_one_slot_a_task() -> None:
    (pool,) = make("s_prompt", "class_incremental").model.pools
    assert len(pool.values) == 3
    assert len(make("s_prompt").model.pools[0].values) == 10
    assert len(make("s_prompt", pool_size=5).model.pools[0].values) == 5

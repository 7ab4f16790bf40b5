"""The clock of samples."""

from __future__ import annotations

import pytest

from cl_prompts.errors import InputError
from cl_prompts.training.clock import SampleClock
from tests.golden_numbers import Golden

GOLDEN = Golden("flyprompt")


def test_published_clock() -> None:
    total, experts, batch = (
        int(GOLDEN(f"clock/{name}")) for name in ("total_samples", "steps", "batch")
    )
    clock = SampleClock(total // experts, experts - 1)
    seen, ticks = 0, []
    while seen < total:
        seen += min(batch, total - seen)
        ticks += [seen] * clock.advance(batch)
    assert ticks == GOLDEN("clock/switch_after_samples").tolist()


def test_a_large_batch_ticks_more_than_once_and_the_last_tick_is_the_last() -> None:
    clock = SampleClock(10, ticks=3)
    assert [clock.advance(n) for n in (9, 21, 50, 50)] == [0, 3, 0, 0]
    assert sum(SampleClock(10).advance(10) for _ in range(7)) == 7


def test_state() -> None:
    clock, twin = SampleClock(10), SampleClock(10)
    clock.advance(27)
    twin.load_state_dict(clock.state_dict())
    assert [clock.advance(3), twin.advance(3)] == [1, 1]
    assert twin.done == 3


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="every must be a whole number of at least 1, not 0"):
        SampleClock(0)

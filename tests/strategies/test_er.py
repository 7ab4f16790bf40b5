"""Experience replay: stream and buffer together."""

from typing import Any

import torch

from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toys import make


def test_each_update_joins_distinct_samples_drawn_anew() -> None:
    found = noted(make("er"), "after_step", lambda _, batch: batch, experiences())
    assert {batch.n_stream for batch in found} <= set(range(1, 17))
    drawn = [batch.slots for batch in found]
    assert len(drawn[0]) == 0  # the buffer is empty at first
    assert {len(slots) for slots in drawn[2:]} == {8}
    assert all(len(slots.unique()) == len(slots) for slots in drawn)
    assert not torch.equal(drawn[2], drawn[3])  # the updates on a batch draw anew


def test_the_loss_is_the_plain_mean_over_stream_and_buffer() -> None:
    strategy = make("er")

    def replayed(output: Any, batch: Any) -> int:
        want = torch.nn.functional.cross_entropy(output.logits, batch.labels)
        torch.testing.assert_close(strategy.loss.detach().squeeze(), want.detach())
        return len(batch.slots)

    assert max(noted(strategy, "after_step", replayed, experiences())) == 8

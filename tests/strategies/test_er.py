"""Experience replay: stream and buffer together."""

from __future__ import annotations

from typing import Any

import torch

from tests.toy_data import experiences
from tests.toys import close, fit, make, watch, weights


def test_each_update_joins_distinct_samples_drawn_anew() -> None:
    strategy, sizes, drawn = make("er"), [], []

    def note(output: Any, batch: Any) -> None:
        sizes.append(batch.n_stream)
        drawn.append(batch.slots)

    watch(strategy, "after_step", note)
    fit(strategy, experiences())
    assert set(sizes) <= set(range(1, 17))
    assert len(drawn[0]) == 0  # the buffer is empty at first
    assert {len(slots) for slots in drawn[2:]} == {8}
    assert all(len(slots.unique()) == len(slots) for slots in drawn)
    assert not torch.equal(drawn[2], drawn[3])  # the updates on a batch draw anew


def test_without_a_buffer_it_is_a_linear_probe() -> None:
    plain = fit(make("linear_probe"), experiences())
    close(weights(fit(make("er", buffer_size=0), experiences())), weights(plain))


def test_the_loss_is_the_plain_mean_over_stream_and_buffer() -> None:
    strategy, checked = make("er"), []

    def note(output: Any, batch: Any) -> None:
        want = torch.nn.functional.cross_entropy(output.logits, batch.labels)
        torch.testing.assert_close(strategy.loss.detach().squeeze(), want.detach())
        checked.append(len(batch.slots))

    watch(strategy, "after_step", note)
    fit(strategy, experiences())
    assert max(checked) == 8


def test_defaults_are_the_published_ones() -> None:
    defaults = {name: setting.default for name, setting in type(make("er")).settings().items()}
    assert (defaults["buffer_size"], defaults["lr"], defaults["online_iter"]) == (2000, 5e-3, 3)
    assert defaults["backbone_lr"] == defaults["weight_decay"] == 0

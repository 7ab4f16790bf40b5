"""DER++: replay that holds the model to what it once said."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.toy_data import experiences
from tests.toys import close, fit, make, watch, weights


def test_stored_logits_are_those_of_the_last_update_with_the_classes_of_then() -> None:
    strategy, (first, *_) = make("derpp", buffer_size=200), experiences()
    rows: list[Tensor] = []
    watch(
        strategy,
        "remember",
        lambda at, batch, output: rows.append(output.logits[: len(at)].detach().clone()),
    )
    fit(strategy, [first])
    values, existed = strategy.stored.at(torch.arange(len(strategy.buffer)))
    logits = torch.cat(rows)
    assert len(logits) == len(first.dataset)
    assert torch.equal(existed, logits.isfinite())
    assert torch.equal(values, logits.masked_fill(~logits.isfinite(), 0))
    assert not bool(existed[:1].all())  # the first batch did not know all classes


def test_the_loss_is_its_three_terms() -> None:
    strategy, checked = make("derpp", "class_incremental", alpha=0.3, beta=0.7), []

    def note(output: Any, batch: Any) -> None:
        if not len(batch.slots):
            return
        m, n = len(batch.slots) // 2, batch.n_stream
        logits, labels = output.logits.detach(), batch.labels
        stored, existed = strategy.stored.at(batch.slots[:m])
        dark = (logits[n : n + m][existed] - stored[existed]).square().mean()
        want = (
            F.cross_entropy(logits[:n], labels[:n])
            + 0.3 * dark
            + 0.7 * F.cross_entropy(logits[n + m :], labels[n + m :])
        )
        torch.testing.assert_close(strategy.loss.detach().squeeze(), want)
        checked.append(bool(dark > 0))

    watch(strategy, "after_step", note)
    fit(strategy, experiences("class_incremental"))
    assert len(checked) > 8
    assert any(checked)


def test_without_its_terms_it_is_a_linear_probe_that_draws_twice() -> None:
    strategy, drawn = make("derpp", alpha=0.0, beta=0.0), []
    watch(strategy, "after_step", lambda output, batch: drawn.append(batch.slots))
    fit(strategy, experiences())
    close(weights(strategy), weights(fit(make("linear_probe"), experiences())))
    last = drawn[-1]
    assert len(last) == 16
    assert not torch.equal(last[:8], last[8:])


def test_stored_logits_hold_the_model_back() -> None:
    def drift(alpha: float) -> float:
        strategy = fit(make("derpp", alpha=alpha, lr=0.02, online_iter=3), experiences(train=120))
        held = torch.arange(len(strategy.buffer))
        images = strategy.replay.read(held, 0)[0][0]
        with torch.no_grad():
            now = strategy.model(images)
        stored, existed = strategy.stored.at(held)
        return float((now - stored)[existed].square().mean())

    assert drift(10.0) < drift(0.0)

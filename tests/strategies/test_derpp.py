"""DER++: replay that holds the model to what it once said."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toys import make


def test_stored_logits_are_from_the_last_update_and_its_classes() -> None:
    strategy = make("derpp", buffer_size=200)
    first, *_ = experiences()

    def offered(rows: Tensor, batch: Any, output: Any) -> Tensor:
        return output.logits[: len(rows)].detach().clone()

    logits = torch.cat(noted(strategy, "remember", offered, [first]))
    values, existed = strategy.stored.at(torch.arange(len(strategy.buffer)))
    assert len(logits) == len(first.dataset)
    assert torch.equal(existed, logits.isfinite())
    assert torch.equal(values, logits.masked_fill(~logits.isfinite(), 0))
    assert not bool(existed[:1].all())  # the first batch did not know all classes


def test_the_loss_is_its_three_terms() -> None:
    strategy = make("derpp", "class_incremental", alpha=0.3, beta=0.7)

    def dark_is_positive(output: Any, batch: Any) -> bool:
        if not len(batch.slots):
            return False
        m = len(batch.slots) // 2
        n = batch.n_stream
        logits = output.logits.detach()
        labels = batch.labels
        stored, existed = strategy.stored.at(batch.slots[:m])
        dark = (logits[n : n + m][existed] - stored[existed]).square().mean()
        want = (
            F.cross_entropy(logits[:n], labels[:n])
            + 0.3 * dark
            + 0.7 * F.cross_entropy(logits[n + m :], labels[n + m :])
        )
        torch.testing.assert_close(strategy.loss.detach().squeeze(), want)
        return bool(dark > 0)

    checked = noted(strategy, "after_step", dark_is_positive, experiences("class_incremental"))
    assert sum(checked) > 4
    # Two draws of a sample in an update are two views.
    replay = strategy.replay
    assert replay._key(0, 3, update=1, draw=0) != replay._key(0, 3, update=1, draw=1)

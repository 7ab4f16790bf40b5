"""ER-ACE: the loss of each half of a batch is over classes of its own."""

from typing import Any

import torch
from torch import Tensor

from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toys import make


def cross_entropy(logits: Tensor, labels: Tensor, competing: set[int]) -> Tensor:
    """Mean of -log softmax over some columns, sample by sample."""
    columns = sorted(competing)
    losses = [
        torch.logsumexp(row[columns], 0) - row[label]
        for row, label in zip(logits.double(), labels.tolist(), strict=True)
    ]
    return torch.stack(losses).mean()


def test_stream_samples_compete_in_their_batch_and_replayed_ones_among_all_seen() -> None:
    strategy = make("er_ace", "class_incremental")

    def terms_differ(output: Any, batch: Any) -> bool:
        n = batch.n_stream
        logits = output.logits.detach()
        present = set(batch.labels[:n].tolist())
        seen = set(strategy.model.seen.nonzero().flatten().tolist())
        want = cross_entropy(logits[:n], batch.labels[:n], present)
        if len(batch.slots):
            want = want + cross_entropy(logits[n:], batch.labels[n:], seen)
        torch.testing.assert_close(strategy.loss.detach().double().squeeze(), want)
        return present < seen and len(batch.slots) > 0

    checked = noted(strategy, "after_step", terms_differ, experiences("class_incremental"))
    assert sum(checked) > 4

"""Symmetric cross-entropy among the classes that compete."""

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.strategies import SymmetricLoss
from tests.strategies.shared import noted
from tests.toy_data import experiences
from tests.toys import make


@pytest.mark.parametrize("class_mask", ["seen", "batch", "current"])
def test_both_terms_are_over_the_classes_that_compete(class_mask: str) -> None:
    plugin = SymmetricLoss(forward_weight=0.25, reverse_weight=0.5)
    strategy = make(
        "linear_probe", "class_incremental", plugins=[plugin], class_mask=class_mask, online_iter=1
    )
    losses = noted(
        strategy,
        "backward",
        lambda: (strategy.loss.detach(), strategy.output.logits.detach(), strategy.batch),
        experiences("class_incremental")[:2],
    )
    loss, logits, batch = losses[-1]
    competing = {
        "seen": torch.tensor([0, 1, 2, 3]),
        "current": torch.tensor([2, 3]),
        "batch": batch.labels.unique(),
    }[class_mask]
    chosen = logits[:, competing]
    targets = torch.searchsorted(competing, batch.labels)
    off = 1 - chosen.softmax(dim=1).gather(1, targets[:, None])
    want = 0.25 * F.cross_entropy(chosen, targets) + 0.5 * 9.2103404 * off.mean()
    torch.testing.assert_close(loss.view(()), want)

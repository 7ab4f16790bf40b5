"""Binary cross-entropy over annotated classes."""

import math

import pytest
import torch
import torch.nn.functional as F

from cl_prompts.losses.multi_label import multi_label_loss


@pytest.mark.parametrize("width", [1, 3, 8])
def test_multi_label_loss_is_over_annotated_columns_alone(width: int) -> None:
    torch.manual_seed(width)
    logits = torch.randn(5, 8, requires_grad=True)
    targets = torch.randint(0, 2, (5, 8)).float()
    columns = torch.arange(8) < width
    current = F.binary_cross_entropy_with_logits(logits[:, :width], targets[:, :width])
    torch.testing.assert_close(multi_label_loss(logits, targets, columns), current)
    everything = multi_label_loss(logits, targets, columns, norm="all")
    torch.testing.assert_close(everything, width / 8 * current + math.log(2) * (8 - width) / 8)
    for norm in ("current", "all"):
        (gradient,) = torch.autograd.grad(
            multi_label_loss(logits, targets, columns, norm=norm), logits
        )
        assert (gradient[:, width:] == 0).all()
        assert (gradient[:, :width] != 0).all()


def test_multi_label_loss_with_columns_per_sample_and_without_any() -> None:
    logits = torch.tensor([[1.0, float("-inf")], [2.0, 3.0]], requires_grad=True)
    targets = torch.ones(2, 2)
    columns = torch.tensor([[True, False], [False, True]])
    want = F.binary_cross_entropy_with_logits(torch.tensor([1.0, 3.0]), torch.ones(2))
    torch.testing.assert_close(multi_label_loss(logits, targets, columns), want)
    assert multi_label_loss(logits, targets, torch.zeros(2, dtype=torch.bool)) == 0

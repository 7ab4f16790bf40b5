"""Cross-entropy among the classes of a batch."""

import torch
import torch.nn.functional as F
from torch import nn

from cl_prompts.losses.classification import (
    centroid_contrast,
    masked_mean,
    partial_cross_entropy,
    reverse_cross_entropy,
)
from tests.golden_numbers import Golden, gradient, put


def test_entries_outside_have_no_say_and_no_gradient() -> None:
    values = torch.tensor([[1.0, torch.inf], [4.0, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, False]])
    mean = masked_mean(values, mask)
    assert mean.item() == 2.5
    mean.backward()
    assert values.grad.tolist() == [[0.5, 0], [0.5, 0]]
    assert masked_mean(torch.ones(3), torch.zeros(3, dtype=torch.bool)).item() == 0


def test_published_symmetric_steps() -> None:
    golden = Golden("slca", "later")
    head = nn.Linear(*reversed(golden("symmetric/weight").shape)).double()
    put(head.weight, golden("symmetric/weight"))
    put(head.bias, golden("symmetric/bias"))
    optimizer = torch.optim.SGD(head.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    known = int(golden("symmetric/known"))
    for step, features in enumerate(golden("symmetric/features")):
        # Columns of earlier tasks do not compete.
        current = head(features)
        logits = torch.cat([torch.full((len(features), known), float("-inf")), current], dim=1)
        labels = golden("symmetric/labels")[step]
        loss = golden("symmetric/a") * F.cross_entropy(logits, labels)
        loss = loss + golden("symmetric/b") * reverse_cross_entropy(logits, labels)
        optimizer.zero_grad()
        loss.backward()
        want = golden("symmetric/grad_weight")[step]
        torch.testing.assert_close(gradient(head.weight), want, rtol=0, atol=1e-8)
        optimizer.step()
    golden.close_double(head.weight, "symmetric/after_weight")
    golden.close_double(head.bias, "symmetric/after_bias")


def test_columns_that_do_not_compete_add_nothing_however_many() -> None:
    logits = torch.full((1, 1_000_002), float("-inf"))
    logits[:, :2] = 0
    torch.testing.assert_close(
        reverse_cross_entropy(logits, torch.tensor([1])), torch.tensor(4.6052), atol=1e-4, rtol=0
    )


def test_means_are_constants_and_large_features_stay_finite() -> None:
    features = (100 * torch.randn(4, 3)).requires_grad_()
    means = torch.randn(2, 3, requires_grad=True)
    loss = centroid_contrast(features, means)
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert means.grad is None


def test_partial_cross_entropy_is_over_known_samples_and_competing_classes() -> None:
    logits, labels = torch.randn(4, 5), torch.tensor([0, 3, 1, 4])
    competing = torch.tensor([True, True, False, True, False])
    known = torch.tensor([True, True, False, False])
    want = F.cross_entropy(logits[:2, [0, 1, 3]], torch.tensor([0, 2]))
    torch.testing.assert_close(partial_cross_entropy(logits, labels, competing, known), want)
    none = torch.zeros(4, dtype=torch.bool)
    assert partial_cross_entropy(logits, labels, competing, none) == 0

"""Cross-entropy among the classes of a batch."""

import torch
import torch.nn.functional as F
from torch import nn

from cl_prompts.losses.classification import (
    batch_classes,
    centroid_contrast,
    masked_cross_entropy,
    masked_mean,
    partial_cross_entropy,
    reverse_cross_entropy,
)
from tests.golden_numbers import Golden, gradient, put


def test_only_the_classes_of_the_batch_compete() -> None:
    logits = torch.randn(6, 5)
    labels = torch.tensor([1, 3, 3, 1, 1, 4])
    competing = batch_classes(labels, 5)
    assert competing.tolist() == [False, True, False, True, True]
    columns = torch.tensor([1, 3, 4])
    want = F.cross_entropy(logits[:, columns], torch.tensor([0, 1, 1, 0, 0, 2]))
    torch.testing.assert_close(masked_cross_entropy(logits, labels, competing), want)
    logits[:, [0, 2]] = -torch.inf  # unseen classes of a model
    torch.testing.assert_close(masked_cross_entropy(logits, labels, competing), want)


def test_entries_outside_have_no_say_and_no_gradient() -> None:
    values = torch.tensor([[1.0, torch.inf], [4.0, torch.nan]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, False]])
    mean = masked_mean(values, mask)
    assert mean.item() == 2.5
    mean.backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.5, 0], [0.5, 0]]


def test_of_nothing_it_is_zero() -> None:
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


def test_every_row_should_be_closest_to_itself() -> None:
    features = torch.randn(4, 3)
    means = torch.randn(2, 3)
    rows = torch.cat([means, features])
    want = torch.stack(
        [F.cross_entropy((rows @ row / 0.8)[None], torch.tensor([i])) for i, row in enumerate(rows)]
    ).mean()
    torch.testing.assert_close(centroid_contrast(features, means), want)


def test_means_are_constants_and_large_features_stay_finite() -> None:
    features = (100 * torch.randn(4, 3)).requires_grad_()
    means = torch.randn(2, 3, requires_grad=True)
    loss = centroid_contrast(features, means)
    loss.backward()
    assert loss.isfinite()
    assert features.grad is not None
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

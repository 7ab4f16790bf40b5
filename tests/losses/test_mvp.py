"""Invariants of MVP's losses; the golden numbers are in test_mvp_golden.py."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.mvp import contrastive_key_loss, gradient_dissimilarity
from cl_prompts.models.base import Output
from cl_prompts.prompts.selectors import NearestKeys, Selection


def batch(
    n: int = 6, n_classes: int = 4, dim: int = 5
) -> tuple[Output, torch.Tensor, torch.nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(dim, n_classes)
    features = torch.randn(n, dim, requires_grad=True)
    labels = torch.randint(0, n_classes, (n,))
    return Output(head(features), features), labels, head, torch.ones(n_classes, dtype=torch.bool)


def test_dissimilarity_in_closed_form_equals_per_sample_backward() -> None:
    out, labels, head, _ = batch()
    mask = torch.rand(6, 4) * 2
    features = out.features.detach()

    def gradient(rows: slice) -> torch.Tensor:
        head.weight.grad = None
        F.cross_entropy(head(features[rows]) * mask[rows], labels[rows]).backward()
        return head.weight.grad.clone()

    whole = gradient(slice(None))
    literal = [
        1 - F.cosine_similarity(gradient(slice(i, i + 1))[y], whole[y], dim=0)
        for i, y in enumerate(labels.tolist())
    ]
    probabilities = (head(features) * mask).softmax(1).detach()
    found = gradient_dissimilarity(features, probabilities, labels, mask)
    torch.testing.assert_close(found, torch.stack(literal), atol=1e-5, rtol=0)


def two_keys() -> tuple[NearestKeys, Selection, Tensor]:
    """Three images with two chosen keys each of four, which were chosen unequally often before."""
    torch.manual_seed(1)
    selector = NearestKeys(4, 5, k=2, count_scaled=True)
    selector.count[:] = torch.tensor([0.0, 3, 1, 7])
    query = torch.randn(3, 5)
    return selector, selector(query), query


@pytest.mark.parametrize("pairs", ["own", "all"])
def test_the_contrastive_loss_of_several_keys_is_its_formula(pairs: str) -> None:
    selector, selection, query = two_keys()
    chosen = [(i, j) for i, row in enumerate(selection.index.tolist()) for j in row]
    scale = [1 + float(selector.count[j]) for _, j in chosen]
    negative = []
    positive = []
    for n, (i, j) in enumerate(chosen):
        for a in [scale[n]] if pairs == "own" else scale:
            to_query = 1 - F.cosine_similarity(query[i], selector.key[j], dim=0)
            positive.append(torch.exp(to_query / a))
            for r in range(4):
                apart = 1 - F.cosine_similarity(selector.key[j], selector.key[r], dim=0)
                negative.append(torch.exp(apart / a))
    n_mean = torch.stack(negative).mean()
    p_mean = torch.stack(positive).mean()
    want = -torch.log(n_mean / (p_mean + n_mean) + 1e-6)
    got = contrastive_key_loss(selector.key, selection, pairs=pairs)
    torch.testing.assert_close(got, want)


def test_a_gradient_like_the_batchs_deviates_by_no_less_than_nothing() -> None:
    features = torch.randn(200, 1, 7, generator=torch.Generator().manual_seed(0))
    probabilities, labels = torch.full((1, 3), 1 / 3), torch.tensor([2])
    found = [gradient_dissimilarity(one, probabilities, labels, None) for one in features]
    assert min(found) >= 0  # where rounding takes the cosine above 1

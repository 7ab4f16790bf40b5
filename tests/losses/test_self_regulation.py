"""PromptSRC's and CoPrompt's terms against published numbers."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from cl_prompts.losses.self_regulation import cosine_consistency, logit_divergence, row_difference
from tests.golden_numbers import Golden, gradient

GOLDEN = Golden("self_regulation")


def inputs(case: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    features, frozen, rows, frozen_rows = (
        GOLDEN(f"{case}/{name}")
        for name in (
            "prompted_features",
            "frozen_features",
            "class_weights",
            "frozen_class_weights",
        )
    )
    return features.requires_grad_(), frozen, rows.requires_grad_(), frozen_rows


def cosines(features: Tensor, rows: Tensor, case: str) -> Tensor:
    scale = GOLDEN.number(f"{case}/logit_scale")
    return scale * F.normalize(features, dim=-1) @ F.normalize(rows, dim=-1).T


def adapted(rows: Tensor, name: str, share: float) -> Tensor:
    """CoPrompt's adapter behind an encoder: share relu(W2 relu(W1 x)) + (1 - share) x."""
    down, up = (GOLDEN(f"coprompt/adapter_{name}/fc.{i}.weight") for i in (0, 2))
    return share * torch.relu(torch.relu(rows @ down.T) @ up.T) + (1 - share) * rows


def test_published_co_prompt() -> None:
    features, frozen, rows, frozen_rows = inputs("coprompt")
    mixed = adapted(features, "image", 0.1)
    mixed_rows = adapted(rows, "class", 0.2)
    consistency = cosine_consistency(mixed, frozen) + cosine_consistency(mixed_rows, frozen_rows)
    loss = F.cross_entropy(cosines(mixed, mixed_rows, "coprompt"), GOLDEN("coprompt/labels"))
    loss = loss + GOLDEN.number("coprompt/weight") * consistency
    GOLDEN.close(loss, "coprompt/loss")
    loss.backward()
    GOLDEN.close(gradient(features), "coprompt/grad_features")


@pytest.mark.parametrize("term", [row_difference, cosine_consistency])
def test_rows_without_a_counterpart_are_left_out(term: object) -> None:
    rows = torch.randn(5, 4)
    frozen = torch.randn(5, 4)
    known = torch.tensor([True, False, True, True, False])
    torch.testing.assert_close(term(rows, frozen, known), term(rows[known], frozen[known]))
    assert term(rows, frozen, torch.zeros(5, dtype=torch.bool)) == 0


def test_columns_without_a_counterpart_are_left_out() -> None:
    logits = torch.randn(6, 5, requires_grad=True)
    frozen = torch.randn(6, 5)
    known = torch.tensor([True, False, True, True, False])
    masked = logits.masked_fill(~known, float("-inf"))  # unseen classes of a model
    got = logit_divergence(masked, frozen, known)
    alone = logit_divergence(logits[:, known], frozen[:, known], known[known])
    torch.testing.assert_close(got, alone)
    got.backward()
    assert gradient(logits).isfinite().all()
    assert not gradient(logits)[:, ~known].any()
    nothing = logit_divergence(logits, frozen, torch.zeros(5, dtype=torch.bool))
    nothing.backward()
    assert nothing.item() == 0
    assert gradient(logits).isfinite().all()


def test_the_frozen_side_gets_no_gradient() -> None:
    rows = torch.randn(5, 4)
    frozen = torch.randn(5, 4, requires_grad=True)
    for term in (row_difference, cosine_consistency):
        assert not term(rows, frozen).requires_grad
    assert not logit_divergence(rows, frozen, torch.ones(4, dtype=torch.bool)).requires_grad

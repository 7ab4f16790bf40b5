"""Ensembles of a head and its slow copies against published numbers."""

from typing import get_args

import pytest
import torch

from cl_prompts.models.slow_heads import Ensemble, ensemble_logits
from tests.golden_numbers import Golden

GOLDEN = Golden("flyprompt")


@pytest.mark.parametrize("kind", get_args(Ensemble))
def test_published_ensembles(kind: Ensemble) -> None:
    heads = torch.stack([GOLDEN(f"test/head{j}_logits") for j in range(3)])
    found = ensemble_logits(heads, GOLDEN("seen"), kind)
    if kind.startswith("softmax"):  # published as probabilities
        found = found.exp()
    want = GOLDEN(f"test/ensemble_{kind}")
    finite = want.isfinite()
    assert torch.equal(found.isfinite(), finite)
    torch.testing.assert_close(found[finite], want[finite], atol=1e-4, rtol=0)

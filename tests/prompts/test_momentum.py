"""HiDe-Prompt's prompts against published numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.errors import InputError
from cl_prompts.losses.centroids import centroid_contrast
from cl_prompts.losses.classification import masked_cross_entropy
from cl_prompts.prompts.momentum import MomentumSlots
from cl_prompts.prompts.prefixes import PrefixLayout, PrefixPool
from cl_prompts.prompts.selectors import Selection
from cl_prompts.prompts.task_aware import start_task
from tests.golden_numbers import Golden, golden_vit, gradient, put

GOLDEN = Golden("hide")
CURRENT = torch.tensor([False, False, True, True, False, False, False, False])


def choose(index: Tensor) -> Selection:
    return Selection(index[:, None], torch.zeros(len(index), 4), torch.ones(4))


def by_slot(published: Tensor) -> Tensor:
    """(blocks, 2, slots, n, heads, head dim) as our pool has it: (slots, blocks, 2, n, dim)."""
    return published.permute(2, 0, 1, 3, 4, 5).flatten(4)


@pytest.mark.parametrize(
    ("layout", "name"), [("own", "correct"), ("published", "published_layout")]
)
def test_published_prompts(layout: PrefixLayout, name: str) -> None:
    vit, head = golden_vit(), nn.Linear(32, 8)
    pool = MomentumSlots(PrefixPool(4, range(5), 3, 32, 4, layout=layout), momentum=0.1)
    start_task(pool, 1)
    put(pool.inner.values, by_slot(GOLDEN("pool")))
    put(head.weight, GOLDEN("head_weight"))
    put(head.bias, GOLDEN("head_bias"))
    tokens = vit.embed(GOLDEN("images"))
    case = f"{name}/train_task1"
    features = vit.class_features(tokens, pool.build(choose(torch.full((6,), 1))))
    GOLDEN.close(features, f"{case}/features")
    logits = head(features)
    GOLDEN.close(logits, f"{case}/logits")
    GOLDEN.close(0.1 * centroid_contrast(features), f"{case}/contrast_without_means")
    contrast = 0.1 * centroid_contrast(features, GOLDEN("stored_means"))
    GOLDEN.close(contrast, f"{case}/contrast")
    loss = masked_cross_entropy(logits, GOLDEN("labels"), CURRENT) + contrast
    GOLDEN.close(loss, f"{case}/loss")
    loss.backward()
    want = by_slot(GOLDEN(f"{case}/grad_pool"))
    torch.testing.assert_close(gradient(pool.inner.values), want, atol=2e-5, rtol=0)
    GOLDEN.close(gradient(head.weight), f"{case}/grad_head_weight")


@pytest.mark.parametrize(
    ("layout", "name"), [("own", "correct"), ("published", "published_layout")]
)
def test_published_evaluation_and_batch_mates(layout: PrefixLayout, name: str) -> None:
    vit, head = golden_vit(), nn.Linear(32, 8)
    pool = PrefixPool(4, range(5), 3, 32, 4, layout=layout)
    put(pool.values, by_slot(GOLDEN("pool")))
    put(head.weight, GOLDEN("head_weight"))
    put(head.bias, GOLDEN("head_bias"))
    tokens, slots = vit.embed(GOLDEN("images")), GOLDEN("wrong_or_right_slot")
    logits = head(vit.class_features(tokens, pool.build(choose(slots))))
    GOLDEN.close(logits, f"{name}/eval/logits")
    pairs = [
        head(vit.class_features(tokens[i : i + 2], pool.build(choose(slots[i : i + 2]))))
        for i in range(0, 6, 2)
    ]
    same = torch.allclose(torch.cat(pairs), logits, atol=1e-5)
    assert same == (layout == "own")


def test_the_mixture_is_kept_at_a_tasks_end() -> None:
    pool = MomentumSlots(PrefixPool(4, (0,), 3, 16, 2, copy_slots=1), momentum=0.25)
    start_task(pool, 0)
    assert pool.values is pool.inner.values
    start_task(pool, 1)
    assert torch.equal(pool.inner.values[1], pool.inner.values[0])  # a copy
    put(pool.inner.values[1], torch.randn_like(pool.inner.values[1]))
    before = pool.values.detach().clone()
    torch.testing.assert_close(before[1], 0.75 * pool.inner.values[1] + 0.25 * pool.inner.values[0])
    start_task(pool, 2)
    assert torch.equal(pool.inner.values[:2], before[:2])
    assert torch.equal(pool.inner.values[2], before[1])
    pool.values.sum().backward()
    assert not gradient(pool.inner.values)[:2].any()


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="momentum is 2: it must be between 0 and 1"):
        MomentumSlots(PrefixPool(4, (0,), 3, 16, 2), momentum=2)
    with pytest.raises(InputError, match="Linear has no entries that could be mixed"):
        MomentumSlots(nn.Linear(2, 2))
    with pytest.raises(InputError, match="unknown layout 'mine'"):
        PrefixPool(4, (0,), 3, 16, 2, layout="mine")  # type: ignore[arg-type]

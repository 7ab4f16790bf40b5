"""Looking inside: how often prompts were used, and how alike keys are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from cl_prompts.models.inspection import innermost_selector, key_similarity, prompt_usage
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import AttentionWeights, ComponentPool
from cl_prompts.prompts.prefixes import PrefixPool
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import BatchwisePrompt, TaskSlots
from tests.toy_vits import tiny_vit


def model_of(selector: nn.Module, pool: nn.Module) -> PromptedViT:
    return PromptedViT(tiny_vit(), 6, selector=selector, pools=[pool])


def test_keys_are_found_below_the_selectors_around_them() -> None:
    keys = NearestKeys(4, 16)
    wrapped = BatchwisePrompt(TaskSlots(keys), 4)
    model = model_of(wrapped, PrefixPool(4, (0,), 2, 16, 2))
    assert innermost_selector(model) is keys
    keys.count[:] = torch.tensor([1.0, 0, 2, 0])
    usage = prompt_usage(model)
    assert usage is not None
    assert usage.tolist() == [1, 0, 2, 0]
    keys.count += 1
    assert usage.tolist() == [1, 0, 2, 0]  # a copy


def test_similarity_is_the_cosine_between_keys() -> None:
    keys = NearestKeys(3, 16)
    with torch.no_grad():
        keys.key.zero_()
        keys.key[0, 0], keys.key[1, 0], keys.key[2, 1] = 2.0, -3.0, 1.0
    found = key_similarity(model_of(keys, PrefixPool(3, (0,), 2, 16, 2)))
    assert found is not None
    assert found.tolist() == [[1, -1, 0], [-1, 1, 0], [0, 0, 1]]


def test_keys_that_differ_by_block_are_averaged() -> None:
    selector = AttentionWeights(2, 4, 16)
    with torch.no_grad():
        selector.key.rows[0].normal_()  # they begin orthogonal, with the same cosines everywhere
    found = key_similarity(model_of(selector, ComponentPool(4, (0, 1), 2, 16, 2)))
    unit = F.normalize(selector.key(), dim=-1)
    want = torch.stack([rows @ rows.T for rows in unit]).mean(dim=0)
    assert found is not None
    torch.testing.assert_close(found, want, atol=1e-6, rtol=0)


def test_a_model_that_does_not_choose_has_neither() -> None:
    model = PromptedViT(tiny_vit(), 6)
    assert innermost_selector(model) is None
    assert prompt_usage(model) is None
    assert key_similarity(model) is None

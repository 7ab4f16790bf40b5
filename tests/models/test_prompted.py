"""The prompted model: cached parts, read-outs, and combinations without a meaning."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cl_prompts.closed_form import FeatureWhitening
from cl_prompts.models import CosineHead, InstanceLogitMask, Output, PromptedViT
from cl_prompts.models.prompted import innermost_selector, prompt_usage
from cl_prompts.prompts import (
    BatchwisePrompt,
    NearestKeys,
    PrefixPool,
    SharedTokens,
    TaskSlots,
    TokenPool,
)
from tests.toy_vits import tiny_vit

IMAGES = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def prompted(**changes: Any) -> PromptedViT:
    torch.manual_seed(3)
    pools = [SharedTokens((0,), 2, 16), TokenPool(4, (1, 2), 3, 16)]
    settings = {"selector": NearestKeys(4, 16), "pools": pools, **changes}
    model = PromptedViT(tiny_vit(), 6, **settings)
    return model


def test_a_mask_multiplies_the_logits_of_slow_heads_too() -> None:
    mask = InstanceLogitMask(4, 6)
    torch.nn.init.normal_(mask.values)
    model = prompted(logit_mask=mask)
    model.observe_classes(torch.arange(6))
    model.set_slow_heads((0.5, 0.9), ensemble="max_prob")
    torch.nn.init.normal_(model.head.weight)
    out = model.eval().run(IMAGES)
    heads = torch.cat([model.head(out.features)[None], model.slow(model.head, out.features)])
    torch.testing.assert_close(out.logits, (heads * out.mask).amax(dim=0))


@pytest.mark.parametrize("selector", [True, False])
def test_head_and_whitening_are_parts_and_caches_stay_raw(selector: bool) -> None:
    whitening = FeatureWhitening(16, "whitened")
    head = CosineHead(16, 6)
    model = prompted(head=head) if selector else PromptedViT(tiny_vit(), 6, head=head)
    model.whitening = whitening
    model.observe_classes(torch.arange(6))
    with whitening.update_statistics(), torch.no_grad():
        first = model.run(IMAGES)
    cached = first.cacheable
    torch.testing.assert_close(head(first.features), first.logits / _mask(first))
    whitening.update(torch.randn(40, 16))
    with torch.no_grad():
        want = model.run(IMAGES)
        assert not torch.allclose(want.logits, first.logits)
        torch.testing.assert_close(model.run(IMAGES, cached).logits, want.logits)
    other = CosineHead(16, 6)
    model.head = other
    assert (model.head, model.whitening) == (other, whitening)
    assert {"whitening.mean", "whitening.root", "head.weight"} <= set(model.learned_state())


def _mask(output: Output) -> Tensor | float:
    return 1.0 if output.mask is None else output.mask


def model_of(selector: nn.Module, pool: nn.Module) -> PromptedViT:
    return PromptedViT(tiny_vit(), 6, selector=selector, pools=[pool])


def test_keys_are_found_below_the_selectors_around_them() -> None:
    keys = NearestKeys(4, 16)
    wrapped = BatchwisePrompt(TaskSlots(keys))
    model = model_of(wrapped, PrefixPool(4, (0,), 2, 16, 2))
    assert innermost_selector(model) is keys
    keys.count[:] = torch.tensor([1.0, 0, 2, 0])
    usage = prompt_usage(model)
    assert usage.tolist() == [1, 0, 2, 0]
    keys.count += 1
    assert usage.tolist() == [1, 0, 2, 0]  # a copy

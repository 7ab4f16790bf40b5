"""VQ-Prompt's parts against published numbers."""

import pytest
import torch

from cl_prompts.prompts.quantised import QuantisedComponents, SoftKeys
from tests.golden_numbers import Golden, gradient, put
from tests.prompts.test_golden import prefix_rows

GOLDEN = Golden("vq_prompt")


def parts(blocks: list[int], temperature: float) -> tuple[SoftKeys, QuantisedComponents]:
    keys = SoftKeys(len(blocks), 5, 32, temperature=temperature)
    pool = QuantisedComponents(5, blocks, 4, 32, 4)
    put(keys.key, torch.stack([GOLDEN(f"keys_{block}") for block in blocks]))
    put(pool.values, torch.stack([GOLDEN(f"prompts_{block}") for block in blocks]))
    return keys, pool


@pytest.mark.parametrize("temperature", [1, 0.1])
@pytest.mark.parametrize("layer", [0, 3])
def test_published_quantisation(temperature: float, layer: int) -> None:
    case = f"temperature_{temperature}/layer{layer}"
    keys, pool = parts([layer], temperature)
    selection = keys(GOLDEN("query"))
    GOLDEN.close(selection.weights, f"{case}/weights")
    plan = pool.build(selection)
    key_prefix, value_prefix = prefix_rows(plan, layer)
    GOLDEN.close(key_prefix, f"{case}/key_prefix")
    GOLDEN.close(value_prefix, f"{case}/value_prefix")
    loss = plan.loss()
    GOLDEN.close(loss, f"{case}/loss")
    ramp = 0.01 * torch.arange(value_prefix.numel()).view_as(value_prefix)
    (0.1 * key_prefix.square().sum() + 0.1 * (value_prefix * ramp).sum() + loss).backward()
    GOLDEN.close(gradient(keys.key), f"{case}/grad_keys", atol=1e-4)
    GOLDEN.close(gradient(pool.values), f"{case}/grad_prompts", atol=1e-4)

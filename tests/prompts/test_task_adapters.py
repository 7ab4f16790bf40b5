"""Adapters of tasks: one set learns, those before it do not change."""

import pytest
import torch

from cl_prompts.backbones.vit import FrozenViT
from cl_prompts.errors import InputError
from cl_prompts.prompts.task_adapters import TaskAdapters
from tests.toy_vits import tiny_vit


def test_finished_sets_stand_still_and_drop_nothing_out() -> None:
    adapters = TaskAdapters(3, depth=2, dim=8, bottleneck=2).train()
    assert adapters.started == 1
    adapters.start_task(1)
    assert adapters.started == 2
    assert [part.training for part in adapters.train().sets] == [False, True, True]
    assert [part.training for part in adapters.eval().sets] == [False, False, False]
    twin = TaskAdapters(3, depth=2, dim=8, bottleneck=2).train()
    twin.load_state_dict(adapters.state_dict())
    assert twin.task == 1
    learning = [any(p.requires_grad for p in part.parameters()) for part in twin.sets]
    assert learning == [False, True, True]


def test_tasks_beyond_the_last_set() -> None:
    with pytest.raises(InputError, match="task 2 has no adapters: they were made for n_tasks=2"):
        TaskAdapters(2, depth=2, dim=8).start_task(2)
    spare = TaskAdapters(1, depth=2, dim=8, spare=True)
    spare.start_task(2)
    assert spare.started == 1
    assert not any(p.requires_grad for p in spare.parameters())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_at_start_the_model_is_the_frozen_one_bit_for_bit(precision: str) -> None:

    vit = FrozenViT(tiny_vit().vit, precision=precision)
    images = torch.rand(3, 3, 16, 16)
    tokens = vit.embed(images)
    assert torch.equal(vit.blocks(tokens, TaskAdapters(1, 4, 16).build(0)), vit.blocks(tokens))

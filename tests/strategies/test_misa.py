"""MISA against the published numbers, as a run uses it; its warm-up is in
tests/experiments/runner/test_warm_up.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.strategies import MISA
from tests.golden_numbers import Golden, golden_strategy, gradient, put
from tests.strategies.shared import stream_batch
from tests.toy_data import experiences
from tests.toys import fit, make

GOLDEN = Golden("misa")


def published(folder: Path) -> Any:
    """The strategy with the golden prompts, read from files as the released ones, keys and head."""
    torch.save(GOLDEN("g_prompts").reshape(1, 4, 32), folder / "g_prompt.pt")
    torch.save(GOLDEN("e_prompts").reshape(10, 9, 32), folder / "e_prompt.pt")
    strategy = golden_strategy(
        MISA,
        9,
        n_tasks=2,
        g_length=2,
        e_length=3,
        initial_prompts=str(folder),
        position=True,
        slot_offset=False,
        all_keys=True,
    )
    put(strategy.model.selector.inner.key, GOLDEN("keys"))
    put(strategy.model.head.weight, GOLDEN("head_weight"))
    put(strategy.model.head.bias, GOLDEN("head_bias"))
    strategy.model.observe_classes(torch.arange(9))
    return strategy


def test_a_step_of_the_second_task_is_the_published_one(tmp_path: Path) -> None:
    strategy = published(tmp_path)
    model = strategy.model
    for _ in range(2):
        strategy.tasks_started += 1
        strategy.start_task(strategy.annotated)
    batch = stream_batch(strategy, GOLDEN("images"), GOLDEN("labels"))
    output = strategy.training_output(batch)
    GOLDEN.close(output.logits, "task1/logits")
    GOLDEN.close(strategy.prompt_loss(output), "task1/mean_distance")
    loss = strategy.training_loss(output, batch)
    GOLDEN.close(loss, "task1/loss")
    loss.backward()
    for parameter, name in (
        (model.pools[0].values, "g"),
        (model.pools[1].values, "e"),
        (model.selector.inner.key, "keys"),
        (model.head.weight, "head_weight"),
        (model.head.bias, "head_bias"),
    ):
        GOLDEN.close(gradient(parameter), f"task1/grad_{name}")
    tested = model.eval().run(GOLDEN("images"))
    assert torch.equal(tested.selection.index[:, 0], GOLDEN("eval/index"))
    GOLDEN.close(tested.logits, "eval/logits")


def test_each_task_trains_its_own_entry_unless_released() -> None:
    for offset, trained in ((True, [True, True, True]), (False, [True, False, False])):
        strategy = make("misa", "class_incremental", slot_offset=offset)
        before = strategy.model.pools[1].values.detach().clone()
        fit(strategy, experiences("class_incremental"))
        moved = (strategy.model.pools[1].values != before).flatten(1).any(dim=1)
        assert moved.tolist() == trained
        keys = strategy.model.selector.inner.key
        assert keys.shape[0] == 3


def test_without_tasks_prompts_and_keys_are_the_nearest() -> None:
    released, ours = (make("misa", slot_offset=offset) for offset in (False, True))
    for strategy in (released, ours):
        fit(strategy, experiences()[:1])
    assert torch.equal(released.model.pools[1].values, ours.model.pools[1].values)
    assert len(ours.model.pools[1].values) == 10


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there are no prompts at"):
        make("misa", initial_prompts=str(tmp_path / "none.safetensors"))
    torch.save(torch.zeros(1, 4, 16), tmp_path / "g_prompt.pt")
    torch.save(torch.zeros(10, 9, 16), tmp_path / "e_prompt.pt")
    with pytest.raises(InputError, match=r"initial prompts of shape .* do not fit"):
        make("misa", initial_prompts=str(tmp_path), e_length=5)

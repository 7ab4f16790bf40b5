"""MISA against the published numbers, as a run uses it, and its warm-up."""

import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

import cl_prompts
from cl_prompts.errors import InputError
from cl_prompts.strategies import MISA
from tests.golden_numbers import Golden, add_position, give_head, golden_strategy, gradient, put
from tests.strategies.shared import stream_batch
from tests.toy_data import Blobs, experiences
from tests.toys import fit, make

GOLDEN = Golden("misa")


def example() -> Any:
    file = Path(cl_prompts.__file__).parents[1] / "examples/warm_up.py"
    return SimpleNamespace(**runpy.run_path(str(file)))


def published(folder: Path) -> Any:
    torch.save(GOLDEN("g_prompts").reshape(1, 4, 32), folder / "g_prompt.pt")
    torch.save(GOLDEN("e_prompts").reshape(10, 9, 32), folder / "e_prompt.pt")
    strategy = golden_strategy(
        MISA,
        9,
        n_tasks=2,
        g_length=2,
        e_length=3,
        initial_prompts=str(folder),
        slot_offset=False,
        all_keys=True,
    )
    add_position(strategy.model)
    put(strategy.model.selector.inner.key, GOLDEN("keys"))
    give_head(strategy.model, GOLDEN)
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
    GOLDEN.close(tested.selection.distance, "eval/distance")
    GOLDEN.close(tested.cacheable["frozen"], "query")
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


def test_steps_of_the_warm_up_are_the_published_ones() -> None:
    strategy = golden_strategy(MISA, 9, g_length=2, e_length=3)
    model = strategy.model
    add_position(model)
    script = example()
    projected = script.project(model)
    projector = projected.encoder
    named = {
        "backbone.fc.weight": model.head.weight,
        "backbone.fc.bias": model.head.bias,
        "g_prompt.prompts": model.pools[0].values,
        "e_prompt.key": model.selector.inner.key,
        "e_prompt.prompts": projected.inner.values,
    }
    for part, name in ((0, "fc1"), (1, "ln1"), (3, "fc2")):
        for parameter in ("weight", "bias"):
            named[f"proj_e_pt.{name}.{parameter}"] = getattr(projector[part], parameter)
    for name, values in named.items():
        put(values, GOLDEN(f"fam/start/{name}"))
    model.seen.copy_(GOLDEN("fam/open"))
    fam = script.ForgettingAware(torch.optim.Adam(named.values(), lr=1e-3), rho=0.1)
    main = GOLDEN("images"), GOLDEN("labels")
    other = GOLDEN("other_images"), GOLDEN("other_labels")
    ascend = fam.ascend

    def compare_ascent() -> None:
        norms = torch.stack([gradient(values).norm() for values in named.values()])
        GOLDEN.close(norms.norm(), f"fam/{number}/other_grad_norm", atol=1e-4)
        GOLDEN.close(script.loss(model, *other), f"fam/{number}/other_loss", atol=1e-4)
        ascend()
        for name, values in named.items():
            GOLDEN.close(
                values, f"fam/{number}/perturbed/{name}", atol=1e-3 if number == "step2" else 2e-5
            )

    fam.ascend = compare_ascent
    for number in ("step1", "step2"):
        loss = script.step(model, fam, main, other)
        assert loss == pytest.approx(GOLDEN.number(f"fam/{number}/loss_at_perturbed"), abs=1e-4)
        for name, values in named.items():
            GOLDEN.close(gradient(values), f"fam/{number}/grad/{name}", atol=1e-4)
            GOLDEN.close(values, f"fam/{number}/after/{name}", atol=1e-3)
    GOLDEN.close(projected.values, "fam/exported_e_prompts", atol=1e-3)


def test_a_stream_begins_with_the_prompts_of_a_warm_up(tmp_path: Path) -> None:
    misa = make("misa")
    prompts = example().warm_up(misa, Blobs(30), tasks=2, epochs=1, lr=0.01, batch=8)
    file = tmp_path / "warm.safetensors"
    save_file(prompts, file)
    begun = make("misa", initial_prompts=str(file))
    assert torch.equal(begun.model.pools[1].values.flatten(1, 2), prompts["e_prompts"])
    assert torch.equal(begun.model.pools[0].values.flatten(0, 1), prompts["g_prompts"][0])
    with pytest.raises(InputError, match="do not fit prompts of shape"):
        make("misa", initial_prompts=str(file), e_length=2)

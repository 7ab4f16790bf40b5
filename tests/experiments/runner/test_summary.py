"""The summary of a run."""

from pathlib import Path

import torch

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.runner.building import build_run
from tests.experiments.commands import summary


def test_forward_passes_are_per_image(mvp_run: Path) -> None:
    (settings,) = plan("digits", ["strategy=linear_probe", "seed=1"])
    run = build_run(settings)
    run.strategy.samples_seen = 10
    backbone = run.strategy.model.backbone
    evaluator = run.anytime.evaluator
    backbone.counter.macs = 38 * backbone.forward_macs
    evaluator.macs = 8 * backbone.forward_macs
    evaluator.images = 4
    found = run.summary(seconds=5.0, command="typed")
    assert found["forward_passes"] == {"train": 3.0, "evaluation": 2.0}
    assert found["images_per_second"] == 2.0
    assert found["command"] == "typed"
    assert set(found) | {"status", "error"} == set(summary(mvp_run))


def test_what_has_no_course_has_no_value_for_it() -> None:
    (settings,) = plan("digits", ["strategy=joint", "seed=1"])
    found = build_run(settings).anytime.results
    undefined = [name for name in found if name.startswith(("a_a", "forgetting"))]
    assert {"a_auc", "a_avg", "a_avg_by_task", "forgetting"} <= set(undefined)
    assert all(found[name] is None for name in undefined)


def test_memory_counts_stored_samples_and_statistics() -> None:
    (settings,) = plan("digits", ["strategy=ncm", "seed=1"])
    found = build_run(settings).summary(seconds=1.0, command="")
    # Ten class means of 128 numbers, and ten counts, in float64.
    numbers = 10 * 128 + 10
    assert found["memory"] == {"samples": 0, "numbers": numbers, "bytes": 8 * numbers}
    assert found["trainable_parameters"] == 0


def test_bytes_include_the_optimizer_and_images_of_the_buffer() -> None:
    (settings,) = plan("digits", ["strategy=er", "seed=1"])
    run = build_run(settings)
    run.strategy.buffer.filled = 7
    before = run.summary(seconds=1.0, command="")["memory"]["bytes"]
    head = 4 * (10 * 128 + 10)
    assert before == head + 7 * 3 * run.strategy.model.backbone.image_size**2
    run.strategy.model(torch.rand(2, 3, 32, 32)).sum().backward()
    run.strategy.optimizer.step()
    steps = 4 * len(run.strategy.optimizer.state)
    # Adam has two numbers for each trained one.
    assert run.summary(seconds=1.0, command="")["memory"]["bytes"] == before + 2 * head + steps

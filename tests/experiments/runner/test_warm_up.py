"""Warm-up of MISA's prompts: the published steps, the whole, and the command."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_prompts.datasets.views import current_key
from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.runner.warm_up import (
    WarmUp,
    _Batches,
    forgetting_aware_step,
    project,
    warm_up,
)
from cl_prompts.prompts.files import read_prompts, save_prompts
from cl_prompts.strategies import MISA
from cl_prompts.training.forgetting_aware import ForgettingAware
from tests.few_images import few_images
from tests.golden_numbers import Golden, golden_strategy, put
from tests.toy_data import Blobs
from tests.toys import make, on_two_blocks

GOLDEN = Golden("misa")
SMALL = WarmUp(tasks=2, epochs=1, lr=0.01, batch=8, others=1)


class Viewed(Blobs):
    """Images that note under which keys they are viewed."""

    keys: list[Any]

    def __getitem__(self, index: int) -> Any:
        self.keys.append((index, current_key()))
        return super().__getitem__(index)


def test_steps_are_the_published_ones() -> None:
    strategy = golden_strategy(MISA, 9, g_length=2, e_length=3, position=True)
    model = strategy.model
    projected = project(model)
    projector = projected.encoders[0]
    named = {
        "backbone.fc.weight": model.head.weight,
        "backbone.fc.bias": model.head.bias,
        "g_prompt.prompts": model.pools[0].values,
        "e_prompt.key": model.selector.inner.key,
        "e_prompt.prompts": projected.inner.values,
    }
    for part, name in (("down", "fc1"), ("norm", "ln1"), ("up", "fc2")):
        for parameter in ("weight", "bias"):
            named[f"proj_e_pt.{name}.{parameter}"] = getattr(getattr(projector, part), parameter)
    for name, values in named.items():
        put(values, GOLDEN(f"fam/start/{name}"))
    model.seen.copy_(GOLDEN("fam/open"))
    fam = ForgettingAware(torch.optim.Adam(named.values(), lr=1e-3), rho=0.1)
    main_batch = GOLDEN("images"), GOLDEN("labels")
    other = GOLDEN("other_images"), GOLDEN("other_labels")
    for step in ("step1", "step2"):
        loss = forgetting_aware_step(model, fam, main_batch, other)
        assert loss == pytest.approx(GOLDEN.number(f"fam/{step}/loss_at_perturbed"), abs=1e-4)
        for name, values in named.items():
            GOLDEN.close(values, f"fam/{step}/after/{name}", atol=1e-3)
    GOLDEN.close(projected.values, "fam/exported_e_prompts", atol=1e-3)


def test_a_warm_up_moves_prompts_and_a_stream_begins_with_them(tmp_path: Path) -> None:
    found = []
    for seed in (0, 0, 1):
        model = make("misa").model
        before = model.pools[0].values.detach().clone()
        steps: list[tuple[int, int]] = []
        counter = model.backbone.counter
        data = Viewed(60)
        data.keys = []
        found.append(
            warm_up(
                model,
                data,
                SMALL,
                seed=seed,
                report=lambda done, total, _, steps=steps: steps.append((done, total)),
            )
        )
        assert steps == [(i + 1, len(steps)) for i in range(len(steps))]
        assert len(steps) == 4 + 3  # 30 and 20 images in batches of 8
        # By image and pass, whichever process loads it.
        assert all(key is not None for _, key in data.keys)
        assert len(set(data.keys)) == len(data.keys)
        assert not torch.equal(model.pools[0].values, before)
        # Query pass and prompted pass, on the main and on the other batch.
        assert counter.blocks == 2 * 4 * counter.images
    first, again, another = found
    assert torch.equal(first["e_prompts"], again["e_prompts"])
    assert not torch.equal(first["e_prompts"], another["e_prompts"])
    assert first["g_prompts"].shape == (1, 2, 16)
    assert first["e_prompts"].shape == (10, 6, 16)
    save_prompts(tmp_path / "warm.safetensors", first)
    model = make("misa", initial_prompts=str(tmp_path / "warm.safetensors")).model
    assert torch.equal(model.pools[1].values.flatten(1, 2), first["e_prompts"])
    assert torch.equal(model.pools[0].values.flatten(0, 1), first["g_prompts"][0])


def test_any_number_of_loader_processes_warms_up_alike() -> None:
    # Two epochs, and a batch of each held-out class: other batches begin anew between main ones.
    settings = WarmUp(tasks=1, epochs=2, lr=0.01, batch=4, others=1)
    found = []
    for workers in (0, 1, 2):
        model = make("misa", **on_two_blocks("misa")).model
        found.append(warm_up(model, Blobs(30), settings, num_workers=workers))
    for other in found[1:]:
        assert torch.equal(other["e_prompts"], found[0]["e_prompts"])


@pytest.mark.parametrize(
    ("value", "label", "fault", "says"),
    [
        # Of the held-out class, which the first step reads, or of the second task.
        (torch.nan, 5, RunError, "became nan at step 1: its images hold NaN or infinity"),
        (torch.nan, 3, RunError, "its images hold NaN or infinity"),
        (9.0, 5, InputError, "reach"),
        (9.0, 3, RunError, "reach"),
    ],
)
def test_bad_images_are_refused_or_end_a_warm_up_that_has_begun(
    value: float, label: int, fault: type[Exception], says: str
) -> None:
    data = Blobs(30)
    data.images[data.targets == label] = value
    model = make("misa", **on_two_blocks("misa")).model
    with pytest.raises(fault, match=says):
        warm_up(model, data, WarmUp(tasks=2, epochs=1, batch=4, others=1))


def test_images_come_in_another_order_in_each_pass() -> None:
    batches = _Batches(
        Blobs(48), SMALL, torch.Generator().manual_seed(0), 0, lambda images: None, "cpu"
    )
    passes = [torch.cat([labels for _, labels in batches.of([1, 3])]).tolist() for _ in range(2)]
    assert passes[0] != passes[1]
    assert sorted(passes[0]) == sorted(passes[1]) == [1] * 8 + [3] * 8
    assert passes[0] != sorted(passes[0])


def test_classes_are_cut_in_their_order() -> None:
    tasks, held_out = WarmUp().cut(1000)
    assert (len(tasks), len(tasks[0]), tasks[-1][-1]) == (10, 90, 899)
    assert held_out == list(range(900, 1000))
    with pytest.raises(InputError, match="holds 1 of 6 classes out has 5 left: take fewer tasks"):
        WarmUp().cut(6)
    with pytest.raises(InputError, match="epochs is 0: it must be at least 1"):
        WarmUp(epochs=0)


def test_the_command_writes_prompts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, announced = (tmp_path / f"{name}.safetensors" for name in ("warm", "announced"))
    short = ["seed=1", "e_length=2", "--tasks", "2", "--epochs", "1", "--lr", "0.01"]
    with few_images(train=2):
        assert main(["warm-up", "digits", *short, "--out", str(out)]) == 0
        scenario = ["scenario=class_incremental", "n_tasks=5", "misa.plugins=prompt_averaging"]
        assert main(["warm-up", "digits", *scenario, *short, "--out", str(announced)]) == 0
    assert capsys.readouterr().out == f"prompts: {out}\nprompts: {announced}\n"
    prompts = read_prompts(out, "e_prompts")
    assert prompts.shape == (10, 6, 128)
    # Neither scenario nor plugins play a part.
    assert announced.read_bytes() == out.read_bytes()
    begun = ["validate", "digits", "seed=1", "strategy=misa", "e_length=2"]
    for more, is_another in (([], False), (["backbone.weights=random"], True)):
        assert main([*begun, f"misa.initial_prompts={out}", *more]) == 0
        said = capsys.readouterr().out
        assert ("misa: warm.safetensors was warmed up with a ViT of other" in said) == is_another
    for other in ("g_blocks=3,4", "e_length=3"):
        assert main([*begun, f"misa.initial_prompts={out}", f"misa.{other}"]) == 2
        assert " for blocks " in capsys.readouterr().err
    assert main(["warm-up", "digits", "--out", str(tmp_path / "none" / "warm.safetensors")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    other = str(tmp_path / "other.safetensors")
    assert main(["warm-up", "digits", "--out", other, "--tasks", "10"]) == 2
    assert "take fewer tasks" in capsys.readouterr().err
    with few_images(train=2):
        wild = ["warm-up", "digits", "seed=1", "--tasks", "2", "--out", other, "--lr"]
        assert main([*wild, "1e300"]) == 2
        assert capsys.readouterr().err == "cl-prompts: lr is 1e+300: it must be at most 1e+30\n"
        assert main([*wild, "1e30"]) == 1
    assert re.fullmatch(r"cl-prompts: the .* a smaller .*\n", capsys.readouterr().err.lstrip())
    assert not Path(other).exists()

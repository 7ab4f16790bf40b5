"""Class orders as seeds of runs, and the check that scores do not depend on the order."""

from typing import Any

import pytest
import torch

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, labels_of_runs, plan
from cl_prompts.experiments.runner.building import (
    Resources,
    build_run,
    check_plan,
    easy_order,
    in_order,
)
from cl_prompts.experiments.sweeps.grid import grid

ORDERS = "orders=random:2,easy,hard"


@pytest.mark.parametrize("expand", [plan, grid])
def test_orders_expand_like_seeds(expand: Any) -> None:
    runs = expand("digits", ["strategy=ncm", "seed=1,2", ORDERS])
    assert [(run.seed, run.order) for run in runs] == [
        (seed, order) for seed in (1, 2) for order in ("random 1", "random 2", "easy", "hard")
    ]
    assert [run.scenario["class_order"] for run in runs[:4]] == [1, 2, None, None]
    assert labels_of_runs(runs)[2] == "ncm seed 1, easy"


def test_hard_is_easy_reversed_and_is_written_into_the_settings() -> None:
    resources = Resources()
    runs = in_order(plan("digits", ["strategy=ncm", "seed=1", ORDERS]), resources)
    first, _, easy, hard = (run.scenario["class_order"] for run in runs)
    assert first == 1
    assert sorted(easy) == list(range(10))
    assert hard == easy[::-1]
    assert in_order(runs, resources) == runs
    # What a folder holds needs no second look at the images.
    assert RunConfig.from_yaml(runs[2].to_yaml()) == runs[2]
    # Runs that differ in their order alone are built once.
    assert len({str(build_run(run, resources).split) for run in runs}) == 4
    assert check_plan(runs, resources)[0].settings.order == "hard"


def test_classes_with_distant_means_come_first() -> None:
    means = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)).double()
    gaps = torch.cdist(means, means).fill_diagonal_(float("inf")).amin(dim=1)
    order = easy_order(means)
    assert gaps[order].diff().max() <= 1e-12
    # The closest pair comes last, side by side.
    assert gaps[order[-2]] == pytest.approx(float(gaps[order[-1]]))


def test_several_labels_have_random_orders_alone() -> None:
    drawn = plan(
        "digit_scenes",
        ["strategy=multi_lane", "seed=1", "orders=random:1", "scenario=mlcil", "protocol=B0-C2"],
    )
    assert [run.scenario["class_order"] for run in drawn] == [1]
    runs = plan(
        "digit_scenes",
        ["strategy=multi_lane", "seed=1", "orders=easy", "scenario=mlcil", "protocol=B0-C2"],
    )
    with pytest.raises(InputError, match="several labels per image: use orders=random:5"):
        in_order(runs, Resources(quick=True))

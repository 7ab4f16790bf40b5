"""Class orders of a sweep, as seeds of runs."""

from cl_prompts.experiments.recipes.run_config import RunConfig, labels_of_runs, plan
from cl_prompts.experiments.runner.building import Resources, build_run, check_plan
from cl_prompts.experiments.sweeps.grid import grid

ORDERS = "class_order=1,2"


def test_orders_expand_like_seeds() -> None:
    runs = grid("digits", ["strategy=ncm", "seed=1,2", ORDERS])
    assert [(run.seed, run.scenario["class_order"]) for run in runs] == [
        (seed, order) for order in (1, 2) for seed in (1, 2)
    ]
    assert labels_of_runs(runs)[2] == "ncm scenario.class_order=2 seed 1"


def test_an_order_is_written_into_the_settings() -> None:
    resources = Resources()
    runs = grid("digits", ["strategy=ncm", "seed=1", ORDERS])
    assert RunConfig.from_yaml(runs[1].to_yaml()) == runs[1]
    # Runs that differ in their order alone are built once.
    assert len({str(build_run(run, resources).split) for run in runs}) == 2
    assert check_plan(runs, resources)[0].settings.scenario["class_order"] == 2


def test_several_labels_have_random_orders() -> None:
    drawn = plan(
        "digit_scenes",
        ["strategy=multi_lane", "seed=1", "class_order=1", "scenario=mlcil", "protocol=B0-C2"],
    )
    assert [run.scenario["class_order"] for run in drawn] == [1]

"""Recipe files of the package and of users."""

from pathlib import Path

import pytest

from cl_prompts.experiments.recipes.recipe_files import kept, load_recipe, recipe_names, recipe_text
from cl_prompts.experiments.recipes.run_config import RunConfig, plan
from cl_prompts.strategies import STRATEGIES


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    return tmp_path / "mine.yaml"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_opens_with_its_command_and_resolves(name: str) -> None:
    assert recipe_text(name).startswith(f"# cl-prompts run {name}")
    assert recipe_names()[name]
    assert all(len(line) <= 100 for line in recipe_text(name).splitlines())
    runs = plan(name)
    assert runs
    one_seed = {run.strategy: run for run in runs}.values()
    assert all(RunConfig.from_yaml(run.to_yaml()) == run for run in one_seed)


def test_digits_holds_settings_of_every_strategy() -> None:
    missing = set(STRATEGIES) - set(load_recipe("digits")["strategies"])
    assert not missing, f"recipes/digits.yaml has no settings of {', '.join(sorted(missing))}"
    assert {run.strategy.partition("@")[0] for run in plan("digits_all")} == set(STRATEGIES)


def test_a_recipe_runs_its_run_list_or_its_strategies(mine: Path) -> None:
    def strategies(text: str, *overrides: str) -> list[str]:
        mine.write_text(text)
        return [run.strategy for run in plan(str(mine), ["seed=1", *overrides])]

    shown = ["mvp", "mvp@whitened", "single_prompt", "linear_probe", "recommended"]
    assert strategies("extends: digits") == shown
    assert strategies("extends: digits\nrun: [er, mvp]") == ["er", "mvp"]
    assert strategies("extends: digits\nrun: er,mvp") == ["er", "mvp"]
    assert strategies("extends: digits\nstrategies: [joint, l2p]") == ["joint", "l2p"]
    assert strategies("extends: digits\nstrategies: {l2p: }\nrun: mvp") == ["mvp"]
    every = [*STRATEGIES, "mvp@views", "mvp@whitened"]
    assert sorted(strategies("extends: digits\nrun: all")) == sorted(every)
    assert sorted(strategies("extends: digits", "strategy=all")) == sorted(every)
    assert strategies("extends: digits_all", "strategy=er") == ["er"]


def test_an_own_recipe_extends_one_of_the_package(mine: Path) -> None:
    mine.write_text(
        "extends: digits\nscenario: {n_tasks: 2}\nstrategies: {linear_probe: {lr: 1e-3}}\n"
        "seeds: [9]\n"
    )
    (run,) = plan(str(mine))
    assert (run.recipe, run.strategy, run.seed) == ("mine", "linear_probe", 9)
    assert (run.scenario["n_tasks"], run.scenario["disjoint_percent"]) == (2, 50)
    assert run.options["lr"] == 1e-3
    mine.write_text(
        "extends: digits\nscenario: disjoint\ntraining:\nstrategies: [er, mvp]\nseeds: [9, 9]\n"
    )
    runs = plan(str(mine))
    assert [(r.strategy, r.seed) for r in runs] == [("er", 9), ("mvp", 9)]
    assert runs[0].scenario == {
        "name": "disjoint",
        "n_tasks": 5,
        "leftover": "keep",
        "class_order": None,
    }


def test_settings_unknown_to_another_scenario_or_data_set_are_dropped() -> None:
    blurry = {"n_tasks": 3, "blurry_percent": 10}
    assert kept("scenario", blurry, "disjoint") == {"n_tasks": 3}
    crop = {"crop": "random_area"}
    assert kept("dataset", crop, "tests.experiments.own_parts:stripes") == {}
    assert kept("dataset", crop, "imagenet_r") == crop
    assert kept("dataset", {"splits": "train/val"}, "coco2014") == {}

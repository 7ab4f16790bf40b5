"""Recipes resolved into runs."""

from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.run_config import RunConfig, labels_of_runs, plan
from cl_prompts.experiments.runner.building import build_run
from cl_prompts.experiments.sweeps.grid import grid
from cl_prompts.strategies import strategy_class


@pytest.mark.parametrize("classes", ["['010', 08, '7e2']", "'010',08,'7e2'"])
def test_names_of_digits_stay_names(classes: str) -> None:
    run = plan("digits", ["strategy=ncm", "seed=1", f"dataset.classes={classes}"])[0]
    assert run.dataset["classes"] == ["010", "08", "7e2"]
    assert RunConfig.from_yaml(run.to_yaml()) == run


def test_runs_of_a_plan_share_no_mappings() -> None:
    first, second = plan("digits", ["strategy=mvp", "seed=1,2"])
    first.options["e_blocks"].append(5)
    first.scenario["n_tasks"] = 9
    assert (second.options["e_blocks"], second.scenario["n_tasks"]) == ([2, 3, 4], 5)


@pytest.mark.parametrize("text", ["recipe: [", "recipe: digits", "3"])
def test_damaged_settings_of_a_run_are_refused(text: str) -> None:
    with pytest.raises(InputError, match="this is not a run configuration") as caught:
        RunConfig.from_yaml(text)
    assert "\n" not in str(caught.value)


def test_a_variant_has_its_strategys_settings_and_its_own(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(
        "extends: digits\nstrategies:\n  er: {buffer_size: 50, lr: 0.1}\n"
        "  er@large: {buffer_size: 70}\nrun: [er, er@large]\n"
    )
    runs = plan(str(recipe), ["seed=1", "er.lr=0.2", "er@large.buffer_batch_size=8"])
    assert [run.strategy for run in runs] == ["er", "er@large"]
    found = [(r.options["buffer_size"], r.options["lr"]) for r in runs]
    assert found == [(50, 0.2), (70, 0.2)]
    assert [r.options["buffer_batch_size"] for r in runs] == [16, 8]
    assert strategy_class("er@large") is strategy_class("er")


def test_a_budget_replaces_the_updates_of_a_recipe() -> None:
    (free,) = plan("digits", ["strategy=mvp", "seed=1"])
    texts = ["strategy=mvp,ncm", "seed=1", "budget=0.5,1"]
    runs = plan("digits", texts)
    assert free.options["online_iter"] == 3
    assert runs[0].options["online_iter"] == 1
    found = [(run.strategy, run.options["plugins"]["budget"]["passes"]) for run in runs]
    assert found == [("mvp", 0.5), ("mvp", 1.0), ("ncm", 0.5), ("ncm", 1.0)]
    assert labels_of_runs(runs)[0] == "mvp budget=0.5 seed 1"
    assert list(runs[2].options["plugins"]) == ["budget"]
    assert repr(grid("digits", texts)) == repr(runs)


def test_all_strategies_under_a_budget_are_those_of_a_stream() -> None:
    everything = {run.strategy for run in plan("digits", ["strategy=all", "seed=1"])}
    limited = {run.strategy for run in plan("digits", ["strategy=all", "seed=1", "budget=1"])}
    assert everything - limited == {"joint", "joint_probe"}


def test_a_budget_and_a_number_of_updates_exclude_each_other() -> None:
    with pytest.raises(InputError, match="budget replaces online_iter: leave one of them out"):
        plan("digits", ["strategy=mvp", "seed=1", "budget=1", "mvp.online_iter=2"])
    (run,) = plan("digits", ["strategy=joint", "seed=1", "budget=1"])
    with pytest.raises(InputError, match="Joint trains on the whole stream at once"):
        build_run(run)


def test_a_limit_in_bytes_sets_the_buffer() -> None:
    texts = ["strategy=er,ncm,l2p", "seed=1", "memory=100kB"]
    er, ncm, _ = runs = plan("digits", texts)
    assert {run.memory for run in runs} == {100_000}
    assert er.options["buffer_size"] == plan("digits", texts[:2])[0].options["buffer_size"]
    assert build_run(er).strategy.buffer.size == 27
    assert build_run(ncm).strategy.buffer.size == 0
    with pytest.raises(InputError, match="memory is 9,000 bytes, and NCM needs "):
        build_run(plan("digits", ["strategy=ncm", "seed=1", "memory=9000"])[0])
    assert grid("digits", ["strategy=er", "seed=1", "memory=1MB,2MB"])[1].memory == 2_000_000
    limited = {run.strategy for run in plan("digits", ["strategy=all", "seed=1", "memory=1MB"])}
    assert not limited & {"joint", "joint_probe"}


def test_a_budget_and_a_limit_are_positive_numbers() -> None:
    wrong = {"budget": ["0", "-1", ".nan", "much"]}
    wrong["memory"] = [*wrong["budget"], "1TB", "1MB,2MB"]
    for key, values in wrong.items():
        for value in values:
            with pytest.raises(InputError, match=key):
                plan("digits", ["strategy=er", "seed=1", f"{key}={value}"])


def test_a_variant_of_another_users_settings_is_no_path() -> None:
    text = plan("digits", ["strategy=ncm", "seed=1"])[0].to_yaml()
    with pytest.raises(InputError, match="has no usable variant"):
        RunConfig.from_yaml(text.replace("strategy: ncm", "strategy: ncm@../../x"))

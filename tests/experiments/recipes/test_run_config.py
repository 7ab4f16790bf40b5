"""Recipes resolved into runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.experiments.recipes.run_config import RunConfig, plan
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

"""The sentence of a report on its paired tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_prompts.experiments.report.page import finding
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}


def found(root: Path, reference: str, **values: tuple[float, ...]) -> str:
    """The sentence on runs with these A_AUC, by strategy and seed."""
    for strategy, of_seeds in values.items():
        for seed, value in enumerate(of_seeds, start=1):
            fake_run(root, strategy, seed, results={"a_auc": value}, **SMALL)
    (group,) = groups(collect([root]), reference)
    return finding(group)


def test_a_row_wins_only_after_the_correction(tmp_path: Path) -> None:
    text = found(
        tmp_path,
        "linear_probe",
        linear_probe=(0.6, 0.5, 0.7),
        mvp=(0.8, 0.71, 0.89),
        fine_tuning=(0.7, 0.5, 0.8),
    )
    assert text == (
        "A_AUC against linear_probe: mvp wins by 20.0 points; fine_tuning is not significantly"
        " different (paired t-tests at 5 %, after Holm's correction)."
    )
    fake_run(tmp_path, "mvp", settings={"lr": 1}, time="20250102-120000", **SMALL)
    (group,) = groups(collect([tmp_path]), "mvp (lr=0.005)")
    assert "linear_probe loses by 20.0 points; " in finding(group)
    assert "; mvp (lr=1) is not tested (" in finding(group)


def test_nothing_is_claimed_without_a_test(tmp_path: Path) -> None:
    assert found(tmp_path, "mvp", mvp=(0.5,)) == ""
    text = found(tmp_path, "mvp", linear_probe=(0.7,), joint=(0.9,))
    assert text.startswith("A_AUC against mvp: linear_probe is not tested (")


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    for lr in range(8):
        for seed in (1, 2):
            results = {"a_auc": 0.1 * lr + 0.001 * seed * lr}
            time = f"2025010{lr}-000000"
            settings = {"lr": lr}
            fake_run(tmp_path, "mvp", seed, settings=settings, time=time, results=results, **SMALL)
    (group,) = groups(collect([tmp_path]), "mvp (lr=0)")
    assert finding(group).count(" wins by ") == 6
    assert " and 1 more (" in finding(group)

"""Which runs are compared, and the table that compares them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cl_prompts.experiments.results import (
    COLUMNS,
    own_f1,
    percent,
    results_table,
    sections,
)
from cl_prompts.experiments.runs import collect
from tests.experiments.fake_runs import fake_run


def test_percent_states_the_sample_standard_deviation() -> None:
    assert percent([0.5, 0.7]) == "60.0 ± 14.1"  # n-1: 14.14; n would give 10.0
    assert percent([0.5]) == "50.0 ± -"
    assert percent([]) == "-"


def test_table_has_means_over_finished_runs_and_marks_the_best_of_those_that_compete(
    runs_folder: Path,
) -> None:
    runs = collect([runs_folder])
    rows = {row.cells[0]: row for row in results_table(runs)}
    mvp = [
        r.summary["results"]["a_auc"] for r in runs if r.summary["strategy"] == "mvp" and r.finished
    ]
    assert all(len(row.cells) == 1 + len(COLUMNS) for row in rows.values())  # none has FWT
    assert rows["mvp"].cells[1:3] == ("2", f"{50 * sum(mvp):.1f} ± {100 * np.std(mvp, ddof=1):.1f}")
    assert rows["mvp"].cells[4:] == (
        "3.6 ± 0.0",
        "3.0 ± 0.0",
        "-3.3 ± 0.0",
        "27,000",
        "321",
        "2.00",
        "0.95",
    )
    assert rows["mvp"].best == {2, 3, 4, 5, 6}
    assert rows["joint"].cells[2] == "-"
    assert not rows["joint"].best  # the highest A_last of all, but not a competitor
    assert not rows["linear_probe"].best


def test_nothing_is_marked_best_without_a_rival_on_the_same_seeds(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp")
    fake_run(tmp_path, "joint")
    fake_run(tmp_path, "linear_probe", 2)
    assert not any(row.best for row in results_table(collect([tmp_path])))


def test_transfer_has_columns_where_a_run_measured_it(tmp_path: Path) -> None:
    results = {"a_auc": 0.5, "a_last": 0.6, "forgetting": 0.1, "task_forgetting": 0.1}
    fake_run(tmp_path, "mvp", recipe="a", results=results)
    fake_run(tmp_path, "mvp", recipe="b", results={**results, "bwt": -0.2, "fwt": -0.05})
    without, measured = sections(collect([tmp_path]))
    titles = {"BWT\u00a0%", "FWT\u00a0%"}
    assert not titles & set(without.headings)
    assert titles <= set(measured.headings)
    (row,) = measured.rows()
    assert row.cells[6:8] == ("-20.0 ± -", "-5.0 ± -")


def test_undefined_results_are_left_out_of_a_mean(tmp_path: Path) -> None:
    fake_run(
        tmp_path,
        seed=1,
        results={"a_auc": 0.5, "a_last": 0.6, "forgetting": float("nan"), "task_forgetting": None},
    )
    fake_run(
        tmp_path,
        seed=2,
        results={"a_auc": 0.5, "a_last": 0.6, "forgetting": 0.1, "task_forgetting": None},
    )
    (row,) = results_table(collect([tmp_path]))
    assert row.cells[4:6] == ("10.0 ± -", "-")


def test_of_two_runs_of_one_seed_the_newer_counts(tmp_path: Path) -> None:
    fake_run(tmp_path, time="20250101-000000", results={"a_auc": 0.1})
    fake_run(tmp_path, time="20250102-000000", results={"a_auc": 0.9})
    (row,) = results_table(collect([tmp_path]))
    assert row.cells[1:3] == ("1", "90.0 ± -")


def test_runs_that_differ_in_a_setting_are_not_averaged(tmp_path: Path) -> None:
    fake_run(tmp_path, seed=1)
    fake_run(tmp_path, seed=2, settings={"lr": 0.1})
    names = [row.cells[:2] for row in results_table(collect([tmp_path]))]
    assert names == [("mvp (options.lr=0.005)", "1"), ("mvp (options.lr=0.1)", "1")]


def test_each_experiment_is_a_section(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    fake_run(tmp_path, "joint", seed=2, n_tasks=3)
    fake_run(tmp_path, "joint", recipe="letters", n_classes=12)
    titles = [section.title for section in sections(collect([tmp_path]))]
    assert titles == [
        "digits: digits, si_blurry, tiny, 5 tasks, 10 classes",
        "digits: digits, si_blurry, tiny, 3 tasks, 10 classes",
        "letters",
    ]


def test_strategies_of_ones_own_have_short_labels_unless_two_are_equal(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", name="mine:Method")
    fake_run(tmp_path, "linear_probe")
    labels = [row.cells[0] for row in results_table(collect([tmp_path]))]
    assert labels == ["Method", "linear_probe"]
    fake_run(tmp_path, "joint", name="yours:Method")
    labels = [row.cells[0] for row in results_table(collect([tmp_path]))]
    assert labels == ["linear_probe", "mine:Method", "yours:Method"]


def test_f1_of_a_row_is_that_at_the_models_own_threshold() -> None:
    of1 = own_f1("of1")
    assert of1({"results": {"of1": 0.5, "of1_80": None}}) == 0.5  # a ridge regression
    assert of1({"results": {"of1_80": 0.4}}) == 0.4  # an older folder
    assert of1({"results": {}}) is None

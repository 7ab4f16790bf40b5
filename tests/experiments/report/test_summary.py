"""Sentences of a report hold no more than the runs and their tests; a table has its caveats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_prompts.experiments.report.summary import caveats, finding, opening
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import RunRecord, collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}


def found(root: Path, reference: str, **values: tuple[float, ...]) -> str:
    """The sentence on runs with these A_AUC, by strategy and seed."""
    for strategy, of_seeds in values.items():
        for seed, value in enumerate(of_seeds, start=1):
            fake_run(root, strategy, seed, results={"a_auc": value}, **SMALL)
    (group,) = groups(collect([root]))
    return finding(group, reference)


def test_who_wins_is_said_only_where_the_corrected_test_holds_it(tmp_path: Path) -> None:
    text = found(
        tmp_path,
        "linear_probe",
        linear_probe=(0.6, 0.5, 0.7),
        mvp=(0.8, 0.71, 0.89),
        fine_tuning=(0.7, 0.5, 0.8),
    )
    assert text == (
        "A_AUC: mvp beats linear_probe by 20.0 points on all 3 seeds; fine_tuning cannot be told"
        " apart from linear_probe (paired t-tests at 5 %, after Holm's correction)."
    )
    fake_run(tmp_path, "mvp", settings={"lr": 1}, time="20250102-120000", **SMALL)
    (group,) = groups(collect([tmp_path]))
    text = finding(group, "mvp (lr=0.005)")
    assert "linear_probe loses to mvp (lr=0.005) by 20.0 points on all 3 seeds" in text
    assert "; too few seeds of mvp (lr=1) for a test (" in text


def test_a_difference_that_the_correction_leaves_open_is_no_win(tmp_path: Path) -> None:
    # p is 0.035 and 0.037: below 0.05 each, and 0.07 after the correction.
    text = found(
        tmp_path,
        "linear_probe",
        linear_probe=(0.5, 0.5, 0.5),
        mvp=(0.6, 0.65, 0.55),
        fine_tuning=(0.6, 0.652, 0.55),
    )
    assert "beats" not in text
    assert "fine_tuning, mvp cannot be told apart from linear_probe" in text


def test_one_sign_at_all_seeds_is_said_only_where_it_is_so(tmp_path: Path) -> None:
    gains = (0.1, 0.12, 0.11, 0.1, 0.12, 0.11, 0.1, -0.01)
    text = found(
        tmp_path, "linear_probe", linear_probe=(0.5,) * 8, mvp=tuple(0.5 + g for g in gains)
    )
    assert "mvp beats linear_probe by 9.4 points in the mean of 8 seeds" in text


def test_nothing_is_claimed_where_nothing_is_tested(tmp_path: Path) -> None:
    assert found(tmp_path, "mvp", mvp=(0.5,)) == ""
    assert "so nothing is tested" in found(tmp_path, "mvp", linear_probe=(0.7,), joint=(0.9,))


def test_many_rows_are_counted(tmp_path: Path) -> None:
    for lr in range(6):
        for seed in (1, 2, 3):
            value = 0.5 + 0.1 * lr + 0.001 * seed * lr
            results = {"a_auc": value}
            time = f"2025010{lr}-000000"
            settings = {"lr": lr}
            fake_run(tmp_path, "mvp", seed, settings=settings, time=time, results=results, **SMALL)
    (group,) = groups(collect([tmp_path]))
    text = finding(group, "mvp (lr=0)")
    assert text.startswith("A_AUC: mvp (lr=5) beats mvp (lr=0) by")
    assert text.count(" beats ") == 4
    assert " and 1 more (" in text
    text = finding(group, "mvp (lr=5)")
    greatest = [text.index(f"mvp (lr={lr}) loses to") for lr in range(4)]
    assert greatest == sorted(greatest)


def test_the_opening_counts(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed, **SMALL)
    fake_run(tmp_path, "mvp", 3, status="failed", time="20250102-120000", **SMALL)
    assert opening(collect([tmp_path])) == "2025-01-01: 2 of 3 runs finished."


# ------------------------------------------------------------------------- caveats


def a_run(
    points: list[int],
    *,
    seed: int = 1,
) -> RunRecord:
    """A run measured at ``points``."""
    metrics = {"anytime_accuracy": {"seen": [(point, 0.5) for point in points]}}
    return RunRecord(Path("run"), {"stream_seed": seed}, metrics=metrics)


def test_single_seeds_are_said() -> None:
    two = [a_run([100, 500], seed=1), a_run([100, 500], seed=2)]
    (one,) = caveats({"mvp": two, "joint": two[:1], "ncm": two[:1]})
    assert one.startswith("A single seed: joint and ncm.")


def test_one_anytime_point_is_said() -> None:
    (found,) = caveats({"mvp": [a_run([400], seed=1), a_run([400], seed=2)]})
    assert found.startswith("A_AUC of mvp is the value at a single anytime point")

"""Sentences of a report: what the tests show, and caveats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_prompts.experiments.report.page import caveats, finding, opening
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}


def found(root: Path, reference: str, **values: tuple[float, ...]) -> str:
    """The sentence on runs with these A_AUC, by strategy and seed."""
    for strategy, of_seeds in values.items():
        for seed, value in enumerate(of_seeds, start=1):
            fake_run(root, strategy, seed, results={"a_auc": value}, **SMALL)
    (group,) = groups(collect([root]))
    return finding(group.choose(reference))


def test_a_row_beats_the_reference_only_after_the_correction(tmp_path: Path) -> None:
    text = found(
        tmp_path,
        "linear_probe",
        linear_probe=(0.6, 0.5, 0.7),
        mvp=(0.8, 0.71, 0.89),
        fine_tuning=(0.7, 0.5, 0.8),
    )
    assert text == (
        "A_AUC: MVP beats Linear probe on all 3 seeds, by 20.0 points on average; Fine-tuning"
        " is not significantly different from Linear probe (paired t-tests at 5 %, after Holm's"
        " correction)."
    )
    fake_run(tmp_path, "mvp", settings={"lr": 1}, time="20250102-120000", **SMALL)
    (group,) = groups(collect([tmp_path]))
    text = finding(group.choose("mvp (lr=0.005)"))
    assert "Linear probe loses to MVP (lr=0.005) on all 3 seeds, by 20.0 points" in text
    assert "; not tested: MVP (lr=1, 1 seed) (" in text


def test_a_difference_without_corrected_significance_is_undecided(tmp_path: Path) -> None:
    # p is 0.035 and 0.037: below 0.05 each, and 0.07 after the correction.
    text = found(
        tmp_path,
        "linear_probe",
        linear_probe=(0.5, 0.5, 0.5),
        mvp=(0.6, 0.65, 0.55),
        fine_tuning=(0.6, 0.652, 0.55),
    )
    assert "beats" not in text
    assert "Fine-tuning, MVP are not significantly different from Linear probe" in text


def test_mixed_signs_are_not_called_all_seeds(tmp_path: Path) -> None:
    gains = (0.1, 0.12, 0.11, 0.1, 0.12, 0.11, 0.1, -0.01)
    text = found(
        tmp_path, "linear_probe", linear_probe=(0.5,) * 8, mvp=tuple(0.5 + g for g in gains)
    )
    assert "MVP beats Linear probe over 8 seeds, by 9.4 points on average" in text


def test_nothing_is_claimed_without_a_test(tmp_path: Path) -> None:
    assert found(tmp_path, "mvp", mvp=(0.5,)) == ""
    assert "shares two seeds with MVP: no test" in found(
        tmp_path, "mvp", linear_probe=(0.7,), joint=(0.9,)
    )


def test_long_lists_are_shortened(tmp_path: Path) -> None:
    for lr in range(6):
        for seed in (1, 2, 3):
            value = 0.5 + 0.1 * lr + 0.001 * seed * lr
            results = {"a_auc": value}
            time = f"2025010{lr}-000000"
            settings = {"lr": lr}
            fake_run(tmp_path, "mvp", seed, settings=settings, time=time, results=results, **SMALL)
    (group,) = groups(collect([tmp_path]))
    text = finding(group.choose("mvp (lr=0)"))
    assert text.startswith("A_AUC: MVP (lr=5) beats MVP (lr=0) on all 3 seeds, by")
    assert text.count(" beats ") == 4
    assert " and 1 more (" in text
    text = finding(group.choose("mvp (lr=5)"))
    greatest = [text.index(f"MVP (lr={lr}) loses to") for lr in range(4)]
    assert greatest == sorted(greatest)


def test_the_opening_counts(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed, **SMALL)
    fake_run(tmp_path, "mvp", 3, status="failed", time="20250102-120000", **SMALL)
    assert opening(collect([tmp_path])) == "2025-01-01: 2 of 3 runs finished."


def test_caveats_name_duplicates(tmp_path: Path) -> None:
    for seed, day in ((1, 1), (2, 1), (2, 2)):
        fake_run(tmp_path, "mvp", seed, time=f"2025010{day}-120000", **SMALL)
    (group,) = groups(collect([tmp_path]))
    (newest,) = caveats(group, group.table())
    assert newest == "Duplicate seeds: MVP seed 2 (2 runs). Only the newest run counts."

"""Which entries of a column are best, and how the others differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.results.columns import COLUMNS
from cl_prompts.experiments.results.entries import Entry, column_entries
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

AUC = COLUMNS[0]


def entries_of(
    folder: Path, values: dict[str, dict[int, float]], reference: str
) -> dict[str, Entry]:
    """Entries of A_AUC for runs of these values by strategy and seed."""
    for strategy, by_seed in values.items():
        for seed, value in by_seed.items():
            results: dict[str, Any] = {"a_auc": value, "a_last": value}
            fake_run(folder, strategy, seed, results=results)
    (section,) = sections(collect([folder]))
    groups = {row: section.groups[row] for row in values}
    return column_entries(groups, AUC, reference)


def test_the_best_is_bold_alone_where_it_is_ahead_at_every_seed(tmp_path: Path) -> None:
    values = {"mvp": {1: 0.8, 2: 0.7, 3: 0.9}, "linear_probe": {1: 0.7, 2: 0.61, 3: 0.79}}
    found = entries_of(tmp_path, values, "linear_probe")
    assert {row: entry.best for row, entry in found.items()} == {"mvp": True, "linear_probe": False}
    assert found["mvp"].verdict == "significant"
    assert (found["mvp"].rank, found["linear_probe"].rank) == (1.0, 2.0)
    assert found["linear_probe"].difference is None
    assert found["linear_probe"].verdict == ""


def test_all_that_tie_with_the_best_are_bold(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.8, 2: 0.7, 3: 0.9},
        "linear_probe": {1: 0.9, 2: 0.6, 3: 0.8},
        "fine_tuning": {1: 0.5, 2: 0.41, 3: 0.59},
    }
    found = entries_of(tmp_path, values, "fine_tuning")
    assert [entry.best for entry in found.values()] == [True, True, False]
    assert (
        entries_of(tmp_path / "again", values, "mvp")["linear_probe"].verdict == "not significant"
    )


def test_many_rows_weaken_a_small_p(tmp_path: Path) -> None:
    values = {
        "mvp": {1: 0.5, 2: 0.5, 3: 0.5},
        "linear_probe": {1: 0.53, 2: 0.56, 3: 0.55},
        "fine_tuning": {1: 0.4, 2: 0.6, 3: 0.5},
    }
    entry = entries_of(tmp_path, values, "mvp")["linear_probe"]
    assert entry.difference is not None
    assert entry.difference.significant
    assert entry.p_holm == pytest.approx(2 * entry.difference.p)
    assert entry.verdict == "not significant after Holm's correction"


def test_nothing_is_bold_with_one_seed_or_with_other_seeds(tmp_path: Path) -> None:
    one = entries_of(tmp_path / "one", {"mvp": {1: 0.8}, "linear_probe": {1: 0.1}}, "mvp")
    assert not any(entry.best for entry in one.values())
    assert one["linear_probe"].verdict == "one seed: no test"
    values = {"mvp": {1: 0.8, 2: 0.8}, "linear_probe": {1: 0.1, 3: 0.1}}
    other = entries_of(tmp_path / "other", values, "mvp")
    assert not any(entry.best for entry in other.values())


def test_what_saw_all_data_does_not_compete(tmp_path: Path) -> None:
    values = {
        "joint": {1: 0.99, 2: 0.99},
        "mvp": {1: 0.8, 2: 0.8},
        "linear_probe": {1: 0.1, 2: 0.1},
    }
    found = entries_of(tmp_path, values, "joint")
    assert [entry.best for entry in found.values()] == [False, True, False]
    assert found["joint"].rank is None
    assert found["mvp"].difference is not None

"""Tasks after tasks, over seeds."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cl_prompts.experiments.report.task_tables import (
    csv_rows,
    in_words,
    inks,
    mean_matrix,
    shades,
    table_rows,
)
from cl_prompts.experiments.results.series import task_matrix
from cl_prompts.experiments.run_folder.runs import Run


def a_run(*rows: tuple[int, int, float]) -> Run:
    """A run of two tasks with (task, samples, accuracy) at their ends, 10 and 20 samples."""
    series: dict[str, list[tuple[int, float]]] = {}
    for task, samples, value in rows:
        series.setdefault(f"task:{task}", []).append((samples, value))
    return Run(
        Path("run"), {"n_tasks": 2, "task_ends": [10, 20]}, metrics={"task_end_accuracy": series}
    )


FIRST = a_run((0, 10, 0.9), (0, 20, 0.5), (1, 20, 0.8))
SECOND = a_run((0, 10, 0.7), (0, 20, 0.5))


def test_cells_are_means_over_the_seeds_that_have_them() -> None:
    matrix = mean_matrix([FIRST, SECOND])
    np.testing.assert_allclose(matrix.mean, [[0.8, 0.5], [np.nan, 0.8]])
    np.testing.assert_allclose(matrix.spread[0], [np.std([0.9, 0.7], ddof=1), 0.0])
    assert np.isnan(matrix.spread[1, 1])
    assert matrix.count.tolist() == [[2, 2], [0, 1]]
    np.testing.assert_allclose(matrix.lost[0], [0.3, np.std([0.4, 0.2], ddof=1), 2])
    assert matrix.shown
    np.testing.assert_array_equal(mean_matrix([FIRST]).mean, task_matrix(FIRST))


def test_a_table_has_texts_spreads_and_shades() -> None:
    (first, second) = table_rows(mean_matrix([FIRST, SECOND]))
    assert [cell["text"] for cell in first] == ["80", "50", "+30"]
    assert [cell["spread"] for cell in first] == ["±14", "±0", "±14"]
    assert [cell["text"] for cell in second] == ["", "80", ""]
    assert [cell["shade"] for cell in first] == ["v16", "v10", ""]


def test_the_file_holds_what_is_known() -> None:
    head, *rows = csv_rows(mean_matrix([FIRST, SECOND]), "accuracy")
    assert head[-3:] == ["mean", "sd", "n"]
    assert [row[:3] for row in rows] == [
        [1, 1, "accuracy"],
        [1, 2, "accuracy"],
        [1, "", "forgetting"],
        [2, 2, "accuracy"],
    ]
    assert rows[-1][3:] == [0.8, "", 1]


def test_words_tell_the_extremes() -> None:
    assert in_words(mean_matrix([FIRST])) == (
        "after the last task 50 % on the classes of task 1 (lowest) and 80 % on those of task 2"
        " (highest)"
    )
    assert not mean_matrix([a_run((0, 20, 0.5))]).shown


def test_tasks_that_are_domains_have_their_names() -> None:
    summary = {**FIRST.summary, "domain_names": ["photo", "art"]}
    run = replace(FIRST, summary=summary)
    matrix = mean_matrix([run, run])
    assert (matrix.heading, matrix.names) == ("domain", ["photo", "art"])
    assert in_words(matrix).endswith("50 % on photo (lowest) and 80 % on art (highest)")
    head, *rows = csv_rows(matrix, "accuracy")
    assert head[0] == "domain"
    assert [row[0] for row in rows] == ["photo", "photo", "photo", "art"]
    other = replace(FIRST, summary={**summary, "domain_names": ["art", "photo"]})
    assert mean_matrix([run, other]).names == mean_matrix([FIRST]).names == ["1", "2"]


def test_domains_in_other_orders_are_no_classes() -> None:
    orders = (["photo", "art"], ["art", "photo"])
    runs = [replace(FIRST, summary={**FIRST.summary, "domain_names": o}) for o in orders]
    matrix = mean_matrix(runs)
    assert matrix.heading == matrix.rows == "domain of task"
    assert matrix.measured_on == "the domain of each task"
    assert in_words(matrix).endswith(
        "on the domain of task 1 (lowest) and 80 % on that of task 2 (highest)"
    )


@pytest.mark.parametrize("number", range(len(shades())))
def test_letters_stand_out_from_their_shade(number: int) -> None:
    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return float(
            np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
            @ (0.2126, 0.7152, 0.0722)
        )

    low, high = sorted((luminance(shades()[number]), luminance(inks()[number])))
    assert (high + 0.05) / (low + 0.05) >= 4.5

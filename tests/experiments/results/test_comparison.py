"""Comparisons: rows, references and numbers."""

from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.results.comparison import compare, notes_of
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def test_rows_come_in_the_order_asked_for(runs_folder: Path) -> None:
    home = runs_folder / "digits"
    (table,) = compare([home / "joint", home / "mvp", home])
    assert list(table.group.rows) == ["joint", "mvp", "fine_tuning", "linear_probe"]
    # An upper bound is the reference only on request.
    assert table.group.reference == "mvp"
    assert compare([home / "joint", home], reference="joint")[0].group.reference == "joint"
    (chosen,) = compare([home], rows=["linear_probe", "mvp"], reference="mvp")
    assert list(chosen.group.rows) == ["linear_probe", "mvp"]


def test_metrics_are_chosen_by_key(runs_folder: Path) -> None:
    (table,) = compare([runs_folder], metrics=["f_last", "a_avg"])
    assert [metric.key for metric in table.metrics] == ["f_last", "a_avg"]
    with pytest.raises(InputError, match="unknown metric of these runs 'a_ouc'"):
        compare([runs_folder], metrics=["a_ouc"])


def test_notes_state_the_limits_of_the_numbers(tmp_path: Path, runs_folder: Path) -> None:
    (group,) = groups(collect([runs_folder]))
    two = "Two seeds show only large leads."
    assert notes_of(group) == [two, "joint: trained on all data at once, never bold."]
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed, order_free=True)
        fake_run(tmp_path, "linear_probe", 1, time=f"2025010{seed}-120000")
    (group,) = groups(collect([tmp_path]))
    assert notes_of(group) == [
        "Rows have different seeds: differences and bold use those in common.",
        "A row with one seed is not tested, and is never bold.",
        two,
        "Older runs of the same settings and seed do not count: 1.",
        "A_last does not depend on the order of the stream: mvp.",
    ]


def test_a_method_that_skipped_images_depends_on_their_order(tmp_path: Path) -> None:
    for strategy, share in (("mvp", 1.0), ("linear_probe", 0.2)):
        budget = {"spent": 1.0, "share": share}
        fake_run(tmp_path, strategy, order_free=True, budget=budget)
    (group,) = groups(collect([tmp_path]))
    assert notes_of(group)[-1] == "A_last does not depend on the order of the stream: mvp."


def test_unknown_names_are_refused(tmp_path: Path, runs_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown row of these runs 'er'"):
        compare([runs_folder], rows=["er"])
    with pytest.raises(InputError, match="unknown row of these runs 'nothing'"):
        compare([runs_folder], reference="nothing")
    fake_run(tmp_path, "mvp", status="failed")
    with pytest.raises(InputError, match="none of these runs is finished"):
        compare([tmp_path])
    fake_run(tmp_path, "mvp", 2)
    fake_run(tmp_path, "mvp", 3, settings={"lr": 0.1})
    with pytest.raises(InputError, match=r"reference mvp could mean mvp \(lr=0.005\) or"):
        compare([tmp_path], reference="mvp")
    assert len(compare([tmp_path], rows=["mvp"])[0].group.rows) == 2

"""Comparisons: rows, references and numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.results.comparison import compare, notes_of
from tests.experiments.fake_runs import fake_run


def test_rows_come_in_the_order_asked_for(runs_folder: Path) -> None:
    home = runs_folder / "digits"
    (table,) = compare([home / "mvp", home / "joint", home])
    assert list(table.aggregates) == ["mvp", "joint", "fine_tuning", "linear_probe"]
    assert table.group.reference == "mvp"
    (chosen,) = compare([home], rows=["linear_probe", "mvp"], reference="mvp")
    assert list(chosen.aggregates) == ["linear_probe", "mvp"]
    assert chosen.group.reference == "mvp"


def test_an_upper_bound_is_the_reference_only_on_request(runs_folder: Path) -> None:
    home = runs_folder / "digits"
    assert compare([home / "joint", home / "mvp"])[0].group.reference == "mvp"
    assert compare([home / "joint", home / "mvp"], reference="joint")[0].group.reference == "joint"


def test_metrics_are_chosen_by_key(runs_folder: Path) -> None:
    (table,) = compare([runs_folder], metrics=["f_last", "a_avg"])
    assert [metric.key for metric in table.metrics] == ["f_last", "a_avg"]
    with pytest.raises(InputError, match="unknown metric of these runs 'a_ouc'"):
        compare([runs_folder], metrics=["a_ouc"])


def test_notes_state_the_limits_of_the_numbers(tmp_path: Path, runs_folder: Path) -> None:
    (table,) = compare([runs_folder])
    weak, bound = notes_of(table.group, table.aggregates)
    assert weak.startswith("With 2 seeds, a difference is significant only above 9.0 standard")
    assert bound == "Joint: an upper bound trained on all data at once, never bold."
    fake_run(tmp_path, "mvp")
    (table,) = compare([tmp_path])
    assert "With one seed nothing is tested" in notes_of(table.group, table.aggregates)[0]
    fake_run(tmp_path, "linear_probe", 2)
    (table,) = compare([tmp_path / "digits" / "mvp", tmp_path])
    notes = " ".join(notes_of(table.group, table.aggregates))
    assert "Rows have different seeds (MVP: 1; Linear probe: 2)" in notes


def test_values_of_a_setting_have_tables_of_their_own(tmp_path: Path) -> None:
    for size in (10, 100):
        settings = {"buffer_size": size}
        fake_run(tmp_path, "mvp", time=f"20250101-000{size}", settings=settings)
    fake_run(tmp_path, "linear_probe")
    tables = {
        table.group.title: list(table.aggregates) for table in compare([tmp_path], by="buffer_size")
    }
    assert tables == {
        "digits (buffer_size=unset)": ["linear_probe"],
        "digits (buffer_size=10)": ["mvp"],
        "digits (buffer_size=100)": ["mvp"],
    }
    (table,) = compare([tmp_path], by="recipe")
    assert table.group.title == "digits (recipe=digits)"


def test_unknown_names_are_refused(tmp_path: Path, runs_folder: Path) -> None:
    with pytest.raises(InputError, match="unknown row of these runs 'er'"):
        compare([runs_folder], rows=["er"])
    with pytest.raises(InputError, match=r"did you mean 'scenario\.blurry_percent'"):
        compare([runs_folder], by="scenario.blury_percent")
    with pytest.raises(InputError, match=r"could mean dataset\.name or"):
        compare([runs_folder], by="name")
    with pytest.raises(InputError, match="unknown row of these runs 'nothing'"):
        compare([runs_folder], reference="nothing")
    fake_run(tmp_path, "mvp", status="failed")
    with pytest.raises(InputError, match="none of these runs is finished"):
        compare([tmp_path])
    fake_run(tmp_path, "mvp", 2)
    fake_run(tmp_path, "mvp", 3, settings={"lr": 0.1})
    with pytest.raises(InputError, match=r"reference mvp could mean mvp \(lr=0.005\) or"):
        compare([tmp_path], reference="mvp")
    assert len(compare([tmp_path], rows=["mvp"])[0].aggregates) == 2

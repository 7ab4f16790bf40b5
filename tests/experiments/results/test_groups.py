"""Which runs are compared, and the table that compares them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from cl_prompts.experiments.results.aggregates import Aggregate
from cl_prompts.experiments.results.comparable import tables
from cl_prompts.experiments.results.groups import differences, groups
from cl_prompts.experiments.results.metrics import METRICS
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run
from tests.experiments.results.test_comparable import BASE, DATA, PART, a_run, with_setting


def one_table(folder: Path) -> dict[str, list[Aggregate]]:
    """Entries of the only table of the runs below a folder."""
    (group,) = groups(collect([folder]))
    return group.table()


def texts(cells: list[Aggregate]) -> list[str]:
    return [cell.text for cell in cells]


def test_the_table_averages_finished_runs_and_marks_the_best(runs_folder: Path) -> None:
    runs = collect([runs_folder])
    table = one_table(runs_folder)
    mvp = [
        r.summary["results"]["a_auc"] for r in runs if r.summary["strategy"] == "mvp" and r.finished
    ]
    # no FWT, no device
    assert {len(cells) for cells in table.values()} == {len(METRICS[False]) - 2}
    assert texts(table["mvp"]) == [
        f"{50 * sum(mvp):.1f} ± {100 * np.std(mvp, ddof=1):.1f}",
        table["mvp"][1].text,
        "3.6 ± 0.0",
        "3.0 ± 0.0",
        "-3.3 ± 0.0",
        "27,000",
        "321",
        "2.00",
        "0.95",
    ]
    best = {row: [i for i, cell in enumerate(found) if cell.best] for row, found in table.items()}
    # joint has the highest A_last of all, but does not compete; with two seeds the probe is not
    # significantly worse.
    assert best == {"mvp": [0, 1, 2, 3, 4], "linear_probe": [0, 1], "joint": [], "fine_tuning": []}
    assert table["joint"][0].text == "-"


def test_undefined_results_are_left_out_of_a_mean(tmp_path: Path) -> None:
    known = {"a_auc": 0.5, "a_last": 0.6, "task_forgetting": None}
    fake_run(tmp_path, seed=1, results={**known, "forgetting": float("nan")})
    fake_run(tmp_path, seed=2, results={**known, "forgetting": 0.1})
    (group,) = groups(collect([tmp_path]))
    assert texts(group.table()["mvp"])[2] == "10.0 -"
    # A metric without any value has no column.
    assert "task forgetting" not in [metric.name for metric in group.metrics]


def test_of_two_runs_of_one_seed_the_newer_counts(tmp_path: Path) -> None:
    fake_run(tmp_path, time="20250101-000000", results={"a_auc": 0.1})
    fake_run(tmp_path, time="20250102-000000", results={"a_auc": 0.9})
    (group,) = groups(collect([tmp_path]))
    assert group.seeds == {"mvp": ("1",)}
    assert group.table()["mvp"][0].text == "90.0 -"


def test_conditions_divide_tables_across_strategies(tmp_path: Path) -> None:
    fake_run(tmp_path, "linear_probe")
    fake_run(tmp_path, "mvp", 1)
    changes: dict[str, Any] = {"scenario.blurry_percent": 60, "evaluation.every": 700}
    fake_run(tmp_path, "fine_tuning", changes=changes)
    fake_run(tmp_path, "joint", changes={"num_workers": 2})
    main, other = groups(collect([tmp_path]))
    assert list(main.rows) == ["joint", "linear_probe", "mvp"]
    assert (main.title, main.differs_from, main.differs) == ("digits", "", ())
    assert list(other.rows) == ["fine_tuning"]
    assert other.title == "digits: blurry_percent 60 instead of 10, every 700 instead of 100"
    assert other.differs_from == "digits"


def test_recipe_names_do_not_divide_tables(tmp_path: Path) -> None:
    same: dict[str, Any] = {"dataset": "digits", "changes": {"dataset.name": "digits"}}
    fake_run(tmp_path, "mvp", recipe="mine", **same)
    fake_run(tmp_path, "linear_probe", recipe="yours", **same)
    assert [group.title for group in groups(collect([tmp_path]))] == ["mine, yours"]


def test_tables_have_different_titles_for_long_values(tmp_path: Path) -> None:
    for second in range(3):
        classes = [*(f"class {number}" for number in range(9)), f"x{second}"]
        changes: dict[str, Any] = {"dataset.classes": classes}
        fake_run(tmp_path, time=f"20250101-00000{second}", changes=changes)
    titles = [group.title for group in groups(collect([tmp_path]))]
    assert titles == ["digits", "digits: classes differs", "digits: classes differs [2]"]


def test_a_second_table_has_the_definitions_of_other_papers(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake_run(tmp_path, "mvp", seed)
        fake_run(tmp_path, "linear_probe", seed)
        fake_run(tmp_path, "joint", seed)
    (group,) = groups(collect([tmp_path]))
    keys = [metric.key for metric in group.by_name]
    assert keys[:4] == ["a_avg", "a_last_by_task", "a_avg_by_task", "f_last"]
    table = group.table(group.by_name)
    assert {len(cells) for cells in table.values()} == {len(keys)}
    assert [key for key, e in zip(keys, table["joint"], strict=True) if e.text != "-"] == [
        "a_last_by_task"
    ]
    assert table["mvp"][0].best


def test_own_strategies_have_short_labels_unless_two_are_equal(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", name="mine:Method")
    fake_run(tmp_path, "linear_probe")
    assert list(one_table(tmp_path)) == ["linear_probe", "Method"]
    fake_run(tmp_path, "joint", name="yours:Method")
    assert list(one_table(tmp_path)) == ["linear_probe", "mine:Method", "yours:Method"]


def test_differences_name_the_data() -> None:
    fewer = {**DATA, "test": {**PART, "images": 2}}
    (before, _), (after, _) = tables([a_run(), a_run(data=fewer)])
    assert differences(after, before) == ["data: it has 2 test images, and had 3"]


def test_differences_are_in_words() -> None:
    def words(config: dict[str, Any], **extra: Any) -> list[str]:
        found = [table[0] for table in tables([a_run(), a_run(config, **extra)])]
        return differences(found[1], found[0])

    config = {
        **with_setting("scenario.blurry_percent", 60),
        "evaluation": {**BASE["evaluation"], "every": None},
        "dataset": {**BASE["dataset"], "augment": False},
    }
    assert sorted(words(config)) == [
        "augment false instead of true",
        "blurry_percent 60 instead of 10",
        "every none instead of 100",
    ]
    # Parameters that another scenario does not have are not listed.
    disjoint = {"name": "my.streams:halves", "n_tasks": 4, "leftover": "keep"}
    assert sorted(words({"scenario": disjoint})) == [
        "n_tasks 4 instead of 5",
        "scenario halves instead of si_blurry",
    ]
    letters = {**BASE["dataset"], "name": "letters"}
    assert words({"dataset": letters}, data={**DATA, "classes": "x"}) == [
        "dataset letters instead of digits"
    ]


def test_differences_name_the_parent() -> None:
    alone = {"parent.first": [6, 3], "parent.code": []}
    assert differences(alone, {}) == ["continues a finished run"]
    assert differences({}, alone) == ["continues no finished run"]
    assert differences({**alone, "parent.first": [8, 4]}, alone) == [
        "parent.first [8, 4] instead of [6, 3]"
    ]


def test_rows_have_display_names(tmp_path: Path) -> None:
    for seed in (1, 2):
        fake_run(
            tmp_path, "mvp", seed, name="mvp@whitened", settings={"head": {"input": "whitened"}}
        )
        fake_run(tmp_path, "fine_tuning", seed, name="mvp@views")
    fake_run(tmp_path, "linear_probe", name="mine:Method")
    (group,) = groups(collect([tmp_path]))
    assert sorted(group.names.items()) == [
        ("Method", "Method (1 seed)"),
        ("mvp@views", "MVP (views)"),
        ("mvp@whitened", "MVP (whitened head)"),
    ]


def test_a_plugin_of_some_runs_is_named_without_its_settings(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", time="20250101-120000")
    settings = {"plugins": {"self_regulation": {"kind": "promptsrc", "scale": 10.0}}}
    fake_run(tmp_path, "mvp", time="20250101-130000", settings=settings)
    assert list(one_table(tmp_path)) == ["mvp (plugins=none)", "mvp (plugins=self_regulation)"]

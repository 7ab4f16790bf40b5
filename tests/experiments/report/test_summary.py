"""The sentence of a report on the best row."""

from pathlib import Path
from typing import Any

from cl_prompts.experiments.results.comparison import finding
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run

SMALL: dict[str, Any] = {"n_tasks": 1, "n_classes": 2}
COMMAND = "cl-prompts run digits strategy=mvp,linear_probe seed=1-3 --jobs 2"


def found(root: Path, reference: str, **values: tuple[float, ...]) -> tuple[str, str]:
    for strategy, of_seeds in values.items():
        for seed, value in enumerate(of_seeds, start=1):
            fake_run(root, strategy, seed, results={"a_auc": value}, command=COMMAND, **SMALL)
    (group,) = groups(collect([root]), reference)
    return finding(group)


def test_the_lead_is_over_the_next_row_with_its_interval(tmp_path: Path) -> None:
    mvp, probe, tuned = (0.8, 0.71, 0.89), (0.6, 0.5, 0.7), (0.7, 0.5, 0.95)
    rows = {"linear_probe": probe, "mvp": mvp, "fine_tuning": tuned}
    text, more = found(tmp_path, "linear_probe", **rows, joint=(0.99, 0.99, 0.99))
    assert text == (
        "A_AUC: mvp leads: 8.3 points above fine_tuning [-25.4, 42.1], 3 seeds. The 95 % interval"
        " contains 0"
    )
    assert more == "cl-prompts run digits strategy=mvp,linear_probe --jobs 2 seed=4-8"
    # Without the row between, the lead is clear; the reference does not matter.
    (group,) = groups(collect([tmp_path]), "mvp", ["linear_probe", "mvp", "joint"])
    assert finding(group) == (
        "A_AUC: mvp leads: 20.0 points above linear_probe [17.5, 22.5], 3 seeds",
        "",
    )


def test_one_seed_has_no_interval(tmp_path: Path) -> None:
    assert found(tmp_path, "mvp", mvp=(0.5,)) == ("", "")
    text, more = found(tmp_path, "mvp", linear_probe=(0.7,), joint=(0.9,))
    assert text == "A_AUC: linear_probe leads: 20.0 points above mvp (one seed: no interval)"
    assert more.endswith(" seed=2-6")
    fake_run(tmp_path, "mvp", 2, command="cl-prompts run digits seed=2", **SMALL)
    (group,) = groups(collect([tmp_path]), "mvp")
    assert finding(group)[1] == ""


def test_a_lead_uses_the_seeds_that_all_rows_share(tmp_path: Path) -> None:
    rows = {"mvp": (0.5, 0.7, 0.9), "linear_probe": (0.6, 0.8), "fine_tuning": (0.1, 0.1)}
    text, _ = found(tmp_path, "mvp", **rows)
    # The third seed alone would make mvp the best.
    assert text == "A_AUC: linear_probe leads: 10.0 points above mvp [10.0, 10.0], 2 seeds"


def test_equal_rows_are_said_to_be_equal(tmp_path: Path) -> None:
    text, more = found(tmp_path, "mvp", mvp=(0.5, 0.7), linear_probe=(0.5, 0.7))
    assert text == "A_AUC: linear_probe and mvp have the same mean"
    assert more == ""

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


def test_the_best_row_leads_by_its_difference_from_the_reference(tmp_path: Path) -> None:
    mvp, probe = (0.8, 0.71, 0.89), (0.6, 0.5, 0.7)
    values = {"linear_probe": probe, "mvp": mvp, "fine_tuning": (0.7, 0.5, 0.95)}
    text = "A_AUC: mvp leads on 2 of 3 seeds: 20.0 points above linear_probe [17.5, 22.5]"
    significant = f"{text}, significant after Holm's correction (p = 0.002)"
    assert found(tmp_path, "linear_probe", **values) == (significant, "")
    # The reference leads: its lead is over the next row.
    (group,) = groups(collect([tmp_path]), "mvp")
    text, more = finding(group)
    assert text == (
        "A_AUC: mvp leads on 2 of 3 seeds: 8.3 points above fine_tuning [-25.4, 42.1]. 3 seeds do"
        " not show significance after Holm's correction (p = 0.399)"
    )
    assert more == "cl-prompts run digits strategy=mvp,linear_probe --jobs 2 seed=4-8"


def test_of_two_rows_one_beats_the_other(tmp_path: Path) -> None:
    text, _ = found(tmp_path, "mvp", mvp=(0.5, 0.6), linear_probe=(0.7, 0.9), joint=(0.9, 0.9))
    assert text.startswith("A_AUC: linear_probe beats mvp on both seeds, by 25.0 points on average")


def test_nothing_is_claimed_without_a_test(tmp_path: Path) -> None:
    assert found(tmp_path, "mvp", mvp=(0.5,)) == ("", "")
    text, more = found(tmp_path, "mvp", linear_probe=(0.7,), joint=(0.9,))
    assert text.endswith("beats mvp on one seed, by 20.0 points. One seed is not tested")
    assert more.endswith(" seed=2-6")
    fake_run(tmp_path, "mvp", 2, command="cl-prompts run digits seed=2", **SMALL)
    (group,) = groups(collect([tmp_path]), "mvp")
    assert finding(group)[1] == ""


def test_equal_rows_are_said_to_be_equal(tmp_path: Path) -> None:
    text, more = found(tmp_path, "mvp", mvp=(0.5, 0.7), linear_probe=(0.5, 0.7))
    assert text == "A_AUC: linear_probe and mvp have the same mean on both seeds"
    assert more == ""

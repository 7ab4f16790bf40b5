"""Settings side by side, and what must not stand there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.results.comparison import compare
from cl_prompts.experiments.results.side_by_side import side_by_side
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.fake_runs import fake_run


def test_runs_that_differ_in_the_setting_alone_stand_beside_each_other(tmp_path: Path) -> None:
    for percent in (10, 60):
        for strategy in ("fine_tuning", "linear_probe"):
            changes = {"scenario.blurry_percent": percent}
            fake_run(tmp_path, strategy, time=f"20250101-0000{percent}", changes=changes)
    other: dict[str, Any] = {"scenario.blurry_percent": 60, "evaluation.every": 7}
    fake_run(tmp_path, "mvp", changes=other)
    main, apart = side_by_side(collect([tmp_path]), "blurry_percent")
    assert list(main.sections) == ["blurry_percent=10", "blurry_percent=60"]
    assert (main.title, main.against, main.differs) == ("digits", "", ())
    assert list(apart.sections) == ["blurry_percent=60"]
    assert apart.title == "digits: every 7 instead of 100"
    assert (apart.against, apart.differs) == ("digits", ("every 7 instead of 100",))


def test_options_of_strategies_divide_too(tmp_path: Path) -> None:
    for size in (10, 100):
        settings = {"buffer_size": size}
        fake_run(tmp_path, "mvp", time=f"20250101-000{size}", settings=settings)
    fake_run(tmp_path, "linear_probe")
    (group,) = side_by_side(collect([tmp_path]), "buffer_size")
    labels = {setting: list(section.groups) for setting, section in group.sections.items()}
    assert labels == {
        "buffer_size=10": ["mvp"],
        "buffer_size=100": ["mvp"],
        "buffer_size=unset": ["linear_probe"],
    }


def test_rows_that_differ_in_more_than_the_setting_are_named(tmp_path: Path) -> None:
    for percent, rate in ((10, 0.1), (60, 0.9)):
        for strategy in ("mvp", "linear_probe"):
            settings = {"lr": rate, "n": percent} if strategy == "mvp" else {}
            changes = {"scenario.blurry_percent": percent}
            time = f"20250101-0000{percent}"
            fake_run(tmp_path, strategy, settings=settings, changes=changes, time=time)
    (group,) = side_by_side(collect([tmp_path]), "blurry_percent")
    assert group.varied == {"mvp": ["lr", "n"]}
    (table,) = compare([tmp_path], by="blurry_percent")
    assert "from column to column these rows differ in other settings, too: mvp (lr, n)" in (
        table.notes
    )
    (table,) = compare([tmp_path], by="blurry_percent", rows=["linear_probe"])
    assert not [note for note in table.notes if note.startswith("from column")]


def test_names_that_end_alike_are_two(tmp_path: Path) -> None:
    for second, name in enumerate(("one:mine", "two:mine")):
        changes = {"dataset.name": name}
        time = f"20250101-00000{second}"
        fake_run(tmp_path, name=name, time=time, dataset=name, changes=changes)
    runs = collect([tmp_path])
    (group,) = side_by_side(runs, "dataset")
    assert {setting: list(section.groups) for setting, section in group.sections.items()} == {
        'dataset="one:mine"': ["one:mine"],
        'dataset="two:mine"': ["two:mine"],
    }


def test_tables_of_a_recipe_that_differ_have_titles_that_do(tmp_path: Path) -> None:
    for recipe in ("one", "two"):
        for second, percent in enumerate((10, 60)):
            changes = {"scenario.blurry_percent": percent}
            fake_run(tmp_path, recipe=recipe, time=f"20250101-00000{second}", changes=changes)
    words = "blurry_percent 60 instead of 10"
    titles = [group.title for group in side_by_side(collect([tmp_path]), "recipe")]
    assert titles == ["one, two", f"one: {words}, two: {words}"]


@pytest.mark.parametrize("key", ["dataset", "recipe"])
def test_data_sets_bring_their_own_classes(tmp_path: Path, key: str) -> None:
    fake_run(tmp_path, "mvp", recipe="letters", n_classes=12)
    fake_run(tmp_path, "mvp")
    (group,) = side_by_side(collect([tmp_path]), key)
    assert list(group.sections) == [f"{key}=digits", f"{key}=letters"]
    assert not group.differs


def test_settings_that_do_not_exist_or_are_not_one_are_refused(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp")
    runs = collect([tmp_path])
    with pytest.raises(InputError, match=r"did you mean 'scenario\.blurry_percent'"):
        side_by_side(runs, "scenario.blury_percent")
    with pytest.raises(InputError, match=r"could mean dataset\.name or"):
        side_by_side(runs, "name")
    with pytest.raises(InputError, match="seed is what a table compares or repeats"):
        side_by_side(runs, "seed")

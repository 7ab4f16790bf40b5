"""Runs share a table only where everything that enters their numbers agrees."""

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.experiments.recipes.run_config import plan
from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.results.comparable import environment_notes, tables
from cl_prompts.experiments.results.groups import groups
from cl_prompts.experiments.run_folder.identity import NOT_IDENTITY
from cl_prompts.experiments.run_folder.runs import RunRecord

NUMBER = itertools.count()
PART = {"images": 3, "labels": "a", "names": "n", "bytes": 9, "sizes": "s", "contents": "c"}
DATA = {"name": "digits", "classes": "c", "training": PART, "test": PART}
BASE = asdict(plan("digits", ["strategy=linear_probe", "seed=1"])[0])


def a_run(
    config: dict[str, Any] | None = None,
    seeds: tuple[int, int] = (1, 1),
    *,
    environment: dict[str, Any] | None = None,
    summary: dict[str, Any] | None = None,
    **identity: Any,
) -> RunRecord:
    """A finished run of given settings; ``identity`` overrides cells of its identity."""
    config = {**BASE, **(config or {}), "seed": seeds[0], "stream_seed": seeds[1]}
    said = {
        "status": "finished",
        "weights": config["backbone"]["weights"],
        **{key: config[key] for key in ("recipe", "strategy", "seed", "stream_seed")},
    }
    whole = {
        "numbers": 1,
        "package": "abc",
        "settings": {key: value for key, value in flat(config) if key not in NOT_IDENTITY},
        "files": {},
        "code": {},
        "data": DATA,
        "stream": f"of {seeds[1]}",
        "backbone": "aa11",
    }
    return RunRecord(
        Path(f"run {next(NUMBER)}"),
        {**said, **(summary or {})},
        config=config,
        environment=environment or {},
        identity={**whole, **identity},
    )


def with_setting(key: str, value: Any) -> dict[str, Any]:
    """Settings in which one, of a dotted name, has another value."""
    group, _, name = key.partition(".")
    return {**BASE, group: {**BASE[group], name: value} if name else value}


@pytest.mark.parametrize("key", [key for key, _ in flat(BASE)])
def test_a_setting_divides_tables_unless_a_table_compares_it(key: str) -> None:
    known = ("strategy", "seed", "stream_seed", "evaluation.prequential")
    compared = key.startswith("options.") or key in known
    if key in ("seed", "stream_seed"):
        other = a_run(seeds=(2, 2) if key == "seed" else (1, 2))
    else:
        other = a_run(with_setting(key, "changed"))
    assert len(tables([a_run(), other])) == (1 if compared or key in NOT_IDENTITY else 2)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("numbers", 2),
        ("backbone", "other"),
        ("stream", "other"),
        ("data", {**DATA, "test": {**PART, "images": 2}}),
        ("files", {"dataset.labels": "content"}),
        ("code", {BASE["dataset"]["name"]: "source"}),
        ("code", {BASE["scenario"]["name"]: "source"}),
    ],
)
def test_each_part_of_the_identity_divides_tables(part: str, value: Any) -> None:
    runs = [a_run(), a_run(with_setting("strategy", "mvp"), **{part: value})]
    assert len(tables([runs[0], a_run(package="def")])) == 1
    assert len(tables(runs)) == 2


def test_random_weights_may_differ_between_seeds() -> None:
    config = with_setting("backbone.weights", "random")
    runs = [a_run(config, (seed, seed), backbone=f"of {seed}") for seed in (1, 2)]
    assert len(tables(runs)) == 1
    assert len(tables([*runs, a_run(backbone="of 1")])) == 2
    # Another version of a library may draw others from the same seed.
    assert len(tables([*runs, a_run(config, (2, 2), backbone="others of 2")])) == 3


@pytest.mark.parametrize(
    ("part", "value", "row"),
    [
        ("files", {"options.prompts": "1234567890abcdef"}, "prompts (content)=1234567890ab"),
        ("code", {"mine:Method": "1234567890abcdef"}, "source of mine:Method=1234567890ab"),
    ],
)
def test_files_and_code_of_the_strategy_divide_rows(
    part: str, value: dict[str, Any], row: str
) -> None:
    earlier = {part: dict.fromkeys(value, "99999999aaaaaaaa")}
    (group,) = groups([a_run(**earlier), a_run(seeds=(2, 2), **{part: value})])
    other = f"{row.partition('=')[0]}=99999999aaaa"
    assert set(group.rows) == {f"linear_probe ({other})", f"linear_probe ({row})"}


@pytest.mark.parametrize(
    "options",
    [
        [{"stages": {"a": 1, "b": 2}}, {"stages": {"a": {"b": 2}}}],
        [{"plugins": {"own:A": {"mode": value}}} for value in (1, "1", True, "true")],
        [
            {"plugins": {name: {} for name in names}}
            for names in ("", ["own:A"], ["own:A", "own:B"], ["own:B", "own:A"])
        ],
    ],
)
def test_different_options_divide_rows(options: list[dict[str, Any]]) -> None:
    runs = [a_run(with_setting("options", one), (n, n)) for n, one in enumerate(options)]
    (group,) = groups(runs)
    assert len(group.rows) == len(options)


def test_rows_with_equal_labels_stay_apart() -> None:
    given = [{"a": "x, b=y", "b": "z"}, {"a": "x", "b": "y, b=z"}, {"a": "x, b=y", "b": "z"}]
    runs = [a_run(with_setting("options", one), (n, n)) for n, one in enumerate(given)]
    (group,) = groups(runs)
    label = "linear_probe (a=x, b=y, b=z)"
    assert group.seeds == {label: ("0", "2"), f"{label} [2]": ("1",)}


def test_different_training_of_the_parent_divides_rows() -> None:
    def child(seed: int, settings: str) -> RunRecord:
        parent = {"run": f"runs/{seed}", "sha256": str(seed), "settings": settings}
        return a_run(with_setting("parent", parent), (seed, seed))

    (group,) = groups([child(1, "a"), child(2, "a")])
    assert list(group.rows) == ["linear_probe"]
    (group,) = groups([child(1, "a"), child(2, "b")])
    labels = [f"linear_probe (parent.settings={settings})" for settings in "ab"]
    assert list(group.rows) == labels


def test_differing_libraries_and_devices_are_noted() -> None:
    made = {"cl_prompts": "0.1.0+a1", "torch": "2.9.0", "numpy": "2.1", "device": "cpu"}
    other = {"cl_prompts": "0.1.0+b2", "torch": "2.8.0"}
    runs = [a_run(environment={**made, **more}) for more in ({}, other)]
    assert environment_notes(runs[:1]) == []
    words = (
        "Runs have different environments: cl_prompts=0.1.0+a1, cl_prompts=0.1.0+b2, torch=2.8.0,"
        " torch=2.9.0."
    )
    assert environment_notes(runs) == [words]
    resumed = a_run(environment={**made, "resumed_with": [other]})
    assert environment_notes([resumed]) == [words]

"""Runs share a table only where all that counts agrees."""

from __future__ import annotations

import itertools
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.datasets.registry import DATASETS
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.recipes.signatures import section_parameters
from cl_prompts.experiments.results.comparable import (
    HARMLESS,
    PLACES,
    conditions_of,
    flat,
    is_harmless,
    notes_on,
    stream_rules,
    tables,
)
from cl_prompts.experiments.results.sections import sections
from cl_prompts.experiments.run_folder.runs import Run
from cl_prompts.scenarios.registry import SCENARIOS

NUMBER = itertools.count()
PART = {"images": 3, "labels": "a", "names": "n", "bytes": 9, "sizes": "s", "contents": None}
DATA = {"name": "digits", "classes": "c", "training": PART, "test": PART}
BASE = asdict(plan("digits", ["strategy=linear_probe", "seed=1"])[0])


def a_run(
    config: dict[str, Any] | None = None, seeds: tuple[int, int] = (1, 1), **extra: Any
) -> Run:
    """A finished run of given settings; ``extra`` overrides its summary and environment."""
    config = {**BASE, **(config or {}), "seed": seeds[0], "stream_seed": seeds[1]}
    chosen = {key: config[key]["name"] for key in ("dataset", "scenario", "backbone")}
    summary = {
        "status": "finished",
        "recipe": config["recipe"],
        "strategy": config["strategy"],
        "seed": seeds[0],
        "stream_seed": seeds[1],
        "weights": config["backbone"]["weights"],
        "image_size": 28,
        "multi_label": False,
        "n_tasks": 5,
        "n_classes": 10,
        "class_names": list("0123456789"),
        "backbone_hash": "aa11",
        "data": DATA,
        "definitions": 1,
        **chosen,
    }
    stream = {"stream": seeds[1]}
    environment = {"stream_hash": f"cc{seeds[1]}"}
    environment.update((key, extra.pop(key)) for key in [*extra] if key in environment)
    environment.update(extra.pop("versions", {}))
    return Run(Path(f"run {next(NUMBER)}"), {**summary, **extra}, config, environment, stream)


def with_setting(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """Settings in which one, of a dotted name, has another value."""
    first, _, rest = key.partition(".")
    return {**config, first: with_setting(config[first], rest, value) if rest else value}


def every_config() -> list[dict[str, Any]]:
    """Settings that between them hold every setting of every data set and scenario."""
    found = [BASE]
    for section, names in (("dataset", DATASETS), ("scenario", SCENARIOS)):
        for name in names:
            known = section_parameters(section, name)
            values = {
                key: None if default is ... else default for key, (_, default) in known.items()
            }
            found.append({**BASE, section: {"name": name, **values}})
    return found


CASES = {
    (f"{config['dataset']['name']} {config['scenario']['name']}", key): config
    for config in every_config()
    for key, _ in flat(config)
}


@pytest.mark.parametrize("strategy", ["linear_probe", "mvp"])
def test_a_setting_divides_the_table_or_has_a_reason_not_to(strategy: str) -> None:
    divided: set[str] = set()
    shared: set[str] = set()
    for (_, key), config in CASES.items():
        changed = with_setting({**config, "strategy": strategy}, key, ["changed"])
        seeds = {"seed": (2, 2), "stream_seed": (1, 2)}.get(key, (1, 1))
        if key in ("dataset.name", "scenario.name", "backbone.name", "strategy", "recipe"):
            changed = with_setting(changed, key, "changed")
        # The fingerprints are left out, so that places count.
        other = {"backbone_hash": None, "data": None}
        n_tables = len(tables([a_run(config, **other), a_run(changed, seeds, **other)]))
        (divided if n_tables == 2 else shared).add(key)
    assert not divided & shared
    assert shared == {key for _, key in CASES if is_harmless(key)}
    assert {
        "scenario.blurry_percent",
        "evaluation.every",
        "evaluation.points",
        "stream_seed",
    } <= divided
    assert {"backbone.precision", "backbone.normalisation", "backbone.weights"} <= divided


def test_every_harmless_setting_has_a_reason() -> None:
    assert all(len(reason) > 20 for reason in HARMLESS.values())
    keys = {key for _, key in CASES}
    sections = {key.partition(".")[0] for key in keys}
    of_no_recipe = {"parent.run", "parent.sha256", "parent.settings"}  # of runs that learned on
    assert set(HARMLESS) - of_no_recipe <= keys | sections


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("image_size", 32),
        ("multi_label", True),
        ("n_tasks", 4),
        ("n_classes", 9),
        ("class_names", list("abcdefghij")),
        ("backbone_hash", "other"),
        ("data", {**DATA, "test": {**PART, "images": 2}}),
        ("definitions", 2),
        ("numbers", 2),
        ("files", {"dataset.labels": "content"}),
        ("code", {BASE["dataset"]["name"]: {"mine": "source"}}),
        ("code", {BASE["scenario"]["name"]: {"mine": "source"}}),
        ("stream_hash", "other"),
    ],
)
def test_what_was_measured_of_a_run_counts(key: str, value: Any) -> None:
    runs = [a_run(), a_run({"strategy": "mvp"}, **{key: value})]
    assert len(tables([runs[0], runs[0]])) == 1
    assert len(tables(runs)) == 2


def test_a_place_counts_only_where_no_fingerprint_tells_what_lies_there() -> None:
    for place, fingerprint in PLACES.items():
        moved = with_setting(BASE, place, "/elsewhere")
        assert len(tables([a_run(), a_run(moved)])) == 1
        unknown = {fingerprint: None}
        assert len(tables([a_run(**unknown), a_run(moved, **unknown)])) == 2


def test_images_made_on_demand_are_known_by_their_place_only() -> None:
    moved = with_setting(BASE, "dataset.root", "/elsewhere")
    part = {**PART, "bytes": None}
    unknown = {"data": {**DATA, "training": part}}
    assert len(tables([a_run(**unknown), a_run(moved, **unknown)])) == 2


def test_data_that_a_seed_draws_are_compared_within_the_seed() -> None:
    def drawn(
        contents: str, seed: int, strategy: str = "linear_probe", source: str | None = "f"
    ) -> Run:
        part = {**PART, "bytes": None, "contents": contents}
        data = {**DATA, "training": part, "test": part, "seed": seed, "at_seed_0": source}
        return a_run({"strategy": strategy}, (seed, seed), data=data)

    same = [drawn("a", 1), drawn("b", 2), drawn("a", 1, "mvp")]
    assert len(tables(same)) == 1
    assert len(tables([*same, drawn("c", 2, "mvp")])) == 3
    assert len(tables([*same, drawn("c", 3, source="g")])) == 2
    # Nothing says that one source drew them.
    assert len(tables([drawn("a", 1, source=None), drawn("b", 2, source=None)])) == 2
    assert len(tables([drawn("a", 1, source=None), drawn("a", 2, source=None)])) == 1
    fixed = [a_run(seeds=(n, n), data={**DATA, "test": {**PART, "contents": n}}) for n in (1, 2)]
    assert len(tables(fixed)) == 2


def test_random_weights_are_those_of_the_seed() -> None:
    config = with_setting(BASE, "backbone.weights", "random")
    runs = [a_run(config, (seed, seed), backbone_hash=f"of {seed}") for seed in (1, 2)]
    assert len(tables(runs)) == 1
    assert len(tables([*runs, a_run(backbone_hash="of 1")])) == 2
    # Another version of a library may draw others from the same seed.
    assert len(tables([*runs, a_run(config, (2, 2), backbone_hash="others of 2")])) == 3


def test_without_definitions_the_version_counts() -> None:
    old = a_run(definitions=None)
    assert conditions_of(old)["definitions"] == '"of version unknown"'
    assert len(tables([old, a_run()])) == 2


@pytest.mark.parametrize(
    ("key", "value", "row"),
    [
        ("files", {"options.prompts": "1234567890abcdef"}, "content of prompts=1234567890ab"),
        ("code", {"mine:Method": {"mine": "1234"}}, "source of mine=476eaaac080e"),
    ],
)
def test_content_that_belongs_to_the_strategy_divides_rows(
    key: str, value: dict[str, Any], row: str
) -> None:
    other = {"strategy": "mvp"}
    runs = [a_run(), a_run(other), a_run(seeds=(2, 2), **{key: value})]
    (section,) = sections(runs)
    unset = f"{row.partition('=')[0]}=unset"
    assert set(section.groups) == {f"linear_probe ({unset})", f"linear_probe ({row})", "mvp"}
    (section,) = sections(
        [a_run(**{key: value}), a_run(other), a_run(seeds=(2, 2), **{key: value})]
    )
    assert list(section.groups) == ["linear_probe", "mvp"]


@pytest.mark.parametrize("value", [{"b": 2, "a": 1}, {"a": {"b": 2}}, {"a.b": 2}])
def test_order_and_keys_of_a_mapping_divide(value: dict[str, Any]) -> None:
    one, other = ({**BASE, "options": {"stages": held}} for held in ({"a": 1, "b": 2}, value))
    (section,) = sections([a_run(one), a_run(other, (2, 2))])
    assert len(section.groups) == 2
    one, other = (with_setting(BASE, "dataset.stages", held) for held in ({"a": 1, "b": 2}, value))
    assert len(tables([a_run(one), a_run(other, (2, 2))])) == 2


def test_a_setting_called_source_divides_beside_the_source_of_its_function() -> None:
    code = {"own:halves": {"own": "1234"}}
    config = {**BASE, "scenario": {"name": "own:halves", "source": "a"}}
    other = with_setting(config, "scenario.source", "b")
    runs = [a_run(config, code=code), a_run(config, (2, 2), code=code)]
    assert len(tables(runs)) == 1
    assert len(tables([*runs, a_run(other, (3, 3), code=code)])) == 2
    assert len(tables([*runs, a_run(config, (3, 3), code={"own:halves": {"own": "5"}})])) == 2


def test_rows_whose_labels_read_alike_stay_apart() -> None:
    given = [{"a": "x, b=y", "b": "z"}, {"a": "x", "b": "y, b=z"}, {"a": "x, b=y", "b": "z"}]
    runs = [a_run({"options": one}, (n, n)) for n, one in enumerate(given)]
    (section,) = sections(runs)
    label = "linear_probe (a=x, b=y, b=z)"
    assert section.seeds == {label: ("0", "2"), f"{label} [2]": ("1",)}


@pytest.mark.parametrize(
    ("options", "n_rows"),
    [
        ({"head": {"input": "aligned", "alignment": "released"}}, 2),
        ({"head": {"input": "aligned", "alignment": "streamed"}}, 1),
        ({"layout": "published"}, 2),
        ({"layout": "own"}, 1),
        ({"batchwise_prompt": "always"}, 2),
        ({"batchwise_prompt": "training"}, 1),
    ],
)
def test_the_batch_of_evaluation_divides_rows_where_it_enters_predictions(
    options: dict[str, Any], n_rows: int
) -> None:
    config = {**BASE, "options": options}
    larger = with_setting(config, "evaluation.batch_size", 7)
    (section,) = sections([a_run(config), a_run(larger, (2, 2))])
    assert len(section.groups) == n_rows


def test_a_text_that_reads_like_a_number_has_a_row_of_its_own() -> None:
    given: list[Any] = [1, "1", True, "true"]
    plugins = [{"own:A": {"mode": value}} for value in given]
    runs = [a_run({"options": {"plugins": one}}, (n, n)) for n, one in enumerate(plugins)]
    (section,) = sections(runs)
    assert len(section.groups) == len(given)


def test_plugins_without_settings_and_their_order_divide_rows() -> None:
    given: list[dict[str, Any]] = [
        {},
        {"own:A": {}},
        {"own:B": {}},
        {"own:A": {}, "own:B": {}},
        {"own:B": {}, "own:A": {}},
    ]
    runs = [
        a_run({"options": {"plugins": plugins}}, (seed, seed)) for seed, plugins in enumerate(given)
    ]
    (section,) = sections(runs)
    assert len(section.groups) == len(given)


def test_children_of_parents_that_were_trained_otherwise_have_rows_of_their_own() -> None:
    def child(seed: int, settings: str) -> Run:
        parent = {"run": f"runs/{seed}", "sha256": str(seed), "settings": settings}
        return a_run({"parent": parent}, (seed, seed))

    (section,) = sections([child(1, "a"), child(2, "a")])
    assert list(section.groups) == ["linear_probe"]
    (section,) = sections([child(1, "a"), child(2, "b")])
    labels = [f"linear_probe (parent.settings={settings})" for settings in "ab"]
    assert list(section.groups) == labels


def test_versions_that_differ_are_named() -> None:
    made = {"cl_prompts": "0.2.0", "torch": "2.9.0", "numpy": "2.1", "git_revision": "abc"}
    runs = [a_run(versions={**made, **more}) for more in ({}, {"torch": "2.8.0"}, {"numpy": None})]
    assert notes_on(runs[:1]) == []
    words = "these runs were made with different versions: torch 2.8.0, 2.9.0; numpy 2.1, unknown"
    assert notes_on(runs) == [words]
    assert len(tables(runs)) == 1
    resumed = a_run(versions={**made, "resumed_with": [{"torch": "2.8.0", "device": "cuda"}]})
    words = "these runs were made with different versions: torch 2.8.0, 2.9.0"
    assert notes_on([resumed]) == [words]


def test_runs_by_which_a_search_chose_settings_are_named_beside_others() -> None:
    command = "cl-prompts sweep digits lr=1e-3..1e-1 --sampler"
    searched = [a_run(seeds=(n, n), command=f"{command}=tpe") for n in (1000, 1001)]
    assert notes_on(searched) == []
    (sentence,) = notes_on([*searched, a_run(command="cl-prompts sweep digits seed=1")])
    assert "of seed 1000, 1001, on which" in sentence


def rules(*seeds: tuple[int, int], strategy: str = "mvp") -> list[Run]:
    """Runs of one strategy with these seeds and stream seeds."""
    return [a_run({"strategy": strategy}, pair) for pair in seeds]


def test_streams_that_follow_the_seed_are_not_compared_with_one_stream() -> None:
    follow = rules((1, 1), (2, 2))
    fixed = rules((1, 1), (2, 1), strategy="er")
    assert stream_rules([*follow, *fixed]) == ["that of the run"] * 2 + ["1", "1"]
    assert [len(runs) for _, runs in tables([*follow, *fixed])] == [2, 2]
    # The only run of a strategy fits both, and joins the fixed stream where nothing else follows.
    alone = rules((1, 1), strategy="ncm")
    assert stream_rules([*alone, *fixed]) == ["1", "1", "1"]
    assert stream_rules([*alone, *fixed, *follow])[0] == "that of the run"
    assert stream_rules([*rules((2, 2)), *fixed])[0] == "that of the run"
    assert stream_rules(alone) == ["that of the run"]


def test_each_seed_on_each_stream_is_a_table_a_stream() -> None:
    pairs = [(seed, stream) for stream in (1, 2, 3) for seed in (1, 2)]
    assert stream_rules(rules(*pairs)) == [str(stream) for _, stream in pairs]
    # A stream that one seed alone has may follow it.
    assert stream_rules(rules((1, 1), (2, 1), (3, 3)))[::2] == ["that of the run"] * 2


def test_unequal_streams_of_one_seed_are_not_compared() -> None:
    runs = [a_run(), a_run({"strategy": "er"}, stream_hash="other"), a_run(seeds=(2, 2))]
    assert [len(members) for _, members in tables(runs)] == [1, 1, 1]
    plain = [a_run(stream_hash=None), a_run({"strategy": "er"}, stream_hash=None)]
    assert len(tables(plain)) == 1


def test_unfinished_runs_are_in_no_table() -> None:
    assert tables([a_run(status="failed")]) == []

"""What makes a table another is told in words."""

from __future__ import annotations

from typing import Any

import pytest

from cl_prompts.experiments.results.comparable import tables
from cl_prompts.experiments.results.differences import differences
from tests.experiments.results.test_comparable import BASE, DATA, PART, a_run, with_setting


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("backbone_hash", "f" * 64, "hash of the weights ffffffff instead of aa11"),
        ("stream_hash", "other", "fingerprint of the stream other instead of cc1"),
        ("definitions", 2, "definitions of the metrics 2 instead of 1"),
        ("class_names", ["a"], "names of the classes differ"),
    ],
)
def test_fingerprints_are_told(key: str, value: Any, sentence: str) -> None:
    (before, _), (after, _) = tables([a_run(), a_run(**{key: value})])
    assert differences(after, before) == [sentence]


def test_what_differs_in_the_data_is_told() -> None:
    fewer = {**DATA, "test": {**PART, "images": 2}}
    (before, _), (after, _) = tables([a_run(), a_run(data=fewer)])
    assert differences(after, before) == ["data: it has 2 test images, and had 3"]


def test_differences_are_told_in_words() -> None:
    def words(config: dict[str, Any], **extra: Any) -> list[str]:
        found = [table[0] for table in tables([a_run(), a_run(config, **extra)])]
        return differences(found[1], found[0])

    config = with_setting(BASE, "scenario.blurry_percent", 60)
    config = with_setting(config, "evaluation.every", None)
    config = with_setting(config, "dataset.augment", False)
    assert sorted(words(config)) == [
        "augment false instead of true",
        "blurry_percent 60 instead of 10",
        "every none instead of 100",
    ]
    # Parameters that another scenario does not have are not listed.
    disjoint = {"name": "my.streams:halves", "n_tasks": 4, "leftover": "keep"}
    assert sorted(words({"scenario": disjoint}, n_tasks=4)) == [
        "n_tasks 4 instead of 5",
        "scenario halves instead of si_blurry",
    ]
    letters = {**BASE["dataset"], "name": "letters"}
    assert words({"dataset": letters}, data={**DATA, "classes": "x"}, class_names=["a"]) == [
        "data set letters instead of digits"
    ]
    assert words({}, class_names=["a"]) == ["names of the classes differ"]


def test_settings_of_one_name_are_told_apart() -> None:
    first = {"dataset.class_order": "1", "scenario.class_order": "1"}
    second = {"dataset.class_order": "2", "scenario.class_order": "3"}
    assert differences(second, first) == [
        "dataset.class_order 2 instead of 1",
        "scenario.class_order 3 instead of 1",
    ]
    assert differences({"a": '"' + "x" * 90 + '"'}, {}) == [
        f"a {'x' * 39}… instead of not recorded"
    ]

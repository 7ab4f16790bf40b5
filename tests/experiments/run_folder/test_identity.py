"""What changed since the checkpoint is told, each change in a sentence of its own."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.recipes.settings import plan
from cl_prompts.experiments.run_folder.identity import (
    MAY_CHANGE,
    changes,
    check_identity,
    identity_of,
    input_files,
    may_change,
)
from cl_prompts.experiments.runner.building import Builder

PART = {"images": 3, "labels": "a", "names": None, "bytes": 9, "sizes": None, "contents": "c"}
IDENTITY: dict[str, Any] = {
    "version": "0.2.0",
    "numbers": [4, 2],
    "settings": {
        "seed": 1,
        "device": "cpu",
        "num_workers": 0,
        "dataset": {"name": "folder", "root": "data"},
        "scenario": {"name": "si_blurry", "n_tasks": 5},
        "options": {"lr": 0.005, "multi": True, "empty": {}, "map": {"a": 1, "b": {"c": 2}}},
    },
    "files": {"options.prompts": "p"},
    "code": {"mine:Method": {"mine": "m", "mine_parts": "n"}},
    "data": {"classes": "x", "training": PART, "test": {**PART}},
    "stream": "f00d",
    "backbone": "beef",
    "form": "f0rm",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    new = copy.deepcopy(IDENTITY)
    *above, last = path.split(".")
    inner = new
    for key in above:
        inner = inner[key]
    if value is KeyError:
        del inner[last]
    else:
        inner[last] = value
    return new


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("version", "0.3.0", "was written by cl-prompts 0.2.0, and this is 0.3.0: resume it with"),
        ("numbers", [5, 2], r"numbers .* changed since .* were \[4, 2\], and are \[5, 2\]"),
        ("settings.seed", 2, "its setting seed was 1 at the checkpoint and is 2 in config.yaml"),
        ("settings.scenario.n_tasks", 6, "its setting scenario.n_tasks was 5 .* is 6 in"),
        ("settings.options.lr", 0.01, "its setting options.lr was 0.005 .* is 0.01"),
        ("settings.options.lr", KeyError, "its setting options.lr was 0.005 .* is not there"),
        ("settings.options.new", "a", "its setting options.new was not there .* is 'a'"),
        ("settings.options.multi", 1, "its setting options.multi was True .* is 1"),
        ("settings.options.empty", 0, "its setting options.empty was {} .* is 0"),
        ("settings.options.map", {"b": {"c": 2}, "a": 1}, "its setting options.map was {'a': 1"),
        ("settings.options.map", {"a": 1, "b.c": 2}, "its setting options.map was {'a': 1"),
        ("data.training.images", 4, "data set changed, it has 4 training images, and had 3: bring"),
        ("data.test.contents", "d", "data set changed, contents of test images changed: bring"),
        ("files", {"options.prompts": "q"}, "of its setting options.prompts has other content: b"),
        ("files", {}, "the file of its setting options.prompts is gone: bring it back"),
        ("code.mine:Method.mine", "o", "the source of module mine is another one: bring"),
        ("code.mine:Method.mine_parts", KeyError, "the source of module mine_parts is another"),
        ("code.mine:Method.more", "o", "the source of module more is another one: bring"),
        ("stream", "cafe", "its stream is another one than at the checkpoint: start"),
        (
            "form",
            "cafe",
            "another commit of cl-prompts wrote its checkpoint, whose state",
        ),
        (
            "backbone",
            "cafe",
            "the weights of its backbone, or its normalisation, are others than at the checkpoint",
        ),
    ],
)
def test_each_change_has_its_sentence(path: str, value: Any, says: str) -> None:
    with pytest.raises(InputError, match=f"run folder there cannot be resumed: .*{says}") as error:
        check_identity(IDENTITY, changed(path, value), "there")
    assert "\n" not in str(error.value)
    assert len(list(changes(IDENTITY, changed(path, value)))) == 1


def test_settings_that_may_change() -> None:
    now = changed("settings.device", "cuda:1")
    now["settings"] |= {"checkpoint_every": 7, "threads": 2}
    now["settings"]["dataset"]["root"] = "/elsewhere/data"
    check_identity(IDENTITY, now, "there")
    page = (Path(__file__).parents[3] / "runs" / "README.md").read_text()
    assert all(f"| `{name}` | {reason} |" in page for name, reason in MAY_CHANGE.items())
    assert may_change("dataset.root.of")
    assert not may_change("dataset.roots")
    assert not may_change("dataset")


def test_parts_that_are_not_known_yet_are_not_compared_and_parts_that_are_missing_are() -> None:
    check_identity(IDENTITY, {"version": "0.2.0"}, "there")
    with pytest.raises(
        InputError, match="its checkpoint, of another commit, says nothing of its stream"
    ):
        check_identity(changed("stream", KeyError), IDENTITY, "there")


def test_the_identity_of_a_run_is_json_and_a_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    first, other = plan("digits", ["strategy=fine_tuning,ncm", "seed=1"])
    builder = Builder()
    one = identity_of(builder.build(first))
    assert json.loads(json.dumps(one)) == one
    assert identity_of(Builder().build(first)) == one
    two = identity_of(builder.build(other))
    same = {part for part in one if one[part] == two[part]}
    assert same == {"version", "numbers", "files", "code", "data", "stream", "backbone"}
    monkeypatch.setattr("cl_prompts.strategies.base.online.NUMBERS", 99)
    monkeypatch.setattr("cl_prompts.metrics.continual.DEFINITIONS", 77)
    assert identity_of(builder.build(other))["numbers"] == [99, 77]


OWN = """
import numpy as np
import cl_prompts
from cl_prompts.checks import InputPath
from cl_prompts.scenarios import Split
from cl_prompts.strategies import LinearProbe, StrategyPlugin

class Mine(LinearProbe):
    weights: dict[str, float] = {}
    folders: list[InputPath] = ()

class Option(StrategyPlugin):
    folder: InputPath | None = None

@cl_prompts.dataset
def images(image_size: int, masks: InputPath, no_input: str = "folder"):
    raise AssertionError("it is not read")

@cl_prompts.scenario
def tasks(y, order: InputPath = "order"):
    raise AssertionError("it is not made")
"""


def test_each_file_that_a_setting_names_is_known_by_its_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    Path("own_inputs.py").write_text(OWN)
    named = {
        "dataset.masks": "masks",
        "scenario.order": "order",
        "options.folders.1": "second",
        "options.plugins.own_inputs:Option.folder": "of_plugin",
    }
    for folder in ("folder", "first", *named.values()):
        Path(folder, "inside").mkdir(parents=True)
        Path(folder, "inside", "circle").symlink_to(tmp_path / folder)
        Path(folder, "inside", "a.txt").write_text("1")
    Path("key.txt").write_text("1")
    (run,) = plan(
        "digits",
        [
            *("dataset=own_inputs:images", "dataset.masks=masks", "scenario=own_inputs:tasks"),
            *("strategy=own_inputs:Mine", "Mine.folders=first,second", "Mine.weights={key.txt: 1}"),
            *("plugins=own_inputs:Option", "own_inputs:Option.folder=of_plugin", "seed=1"),
        ],
    )
    before = input_files(run)
    assert before.keys() == {"options.folders.0", "options.weights.key.txt (key)", *named}
    for name, folder in named.items():
        Path(folder, "inside", "a.txt").write_text("2")
        now = input_files(run)
        assert [key for key in before if now[key] != before[key]] == [name]
        before = now

"""Run folders read back, or refused with a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl_prompts.errors import InputError
from cl_prompts.experiments.run_folder.runs import FINISHED, SUMMARY, collect
from tests.experiments.fake_runs import fake_run


def test_collect_takes_run_folders_and_parents_once_and_in_order(runs_folder: Path) -> None:
    runs = collect([runs_folder, runs_folder / "digits" / "mvp"])
    assert [(r.summary["strategy"], r.summary["seed"]) for r in runs] == [
        *((s, seed) for s in ("fine_tuning", "joint", "linear_probe") for seed in (1, 2)),
        *(("mvp", seed) for seed in (1, 2, 3)),
    ]
    assert len(collect([runs[0].folder])) == 1
    assert not runs[-1].finished
    assert not runs[-1].metrics


def broken(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda at: at / "nowhere", r"there is no folder .*nowhere: name run folders"),
        (lambda at: at, r"there is no run below .*: no folder in it holds a summary.json"),
        (
            lambda at: broken(fake_run(at), "summary.json", "{"),
            r"cannot read .*summary.json .*content is damaged",
        ),
        (
            lambda at: broken(fake_run(at), "summary.json", "[]"),
            r"cannot read .*summary.json .*it should be a mapping",
        ),
        (
            lambda at: broken(fake_run(at), "summary.json", "{}"),
            r"cannot read .*summary.json .*status is missing",
        ),
        (
            lambda at: broken(fake_run(at), "SHA256SUMS", f"{'0' * 64}  metrics.csv\n"),
            r"config.yaml is not what it was when the run ended",
        ),
        (
            lambda at: fake_run(at, environment={"format": 2}),
            r"lacks the SHA256SUMS of a finished run: repeat the run or leave its folder out",
        ),
        (lambda at: fake_run(at, status="done"), r"has the status 'done': known are finished"),
        (
            lambda at: broken(fake_run(at), "metrics.csv", "a,b\n"),
            r"metrics.csv does not begin with samples_seen,",
        ),
        (
            lambda at: broken(
                fake_run(at), "metrics.csv", "samples_seen,metric,scope,value\n10,loss,train\n"
            ),
            r"cannot read line 2 of .*metrics.csv",
        ),
        (
            lambda at: fake_run(at, n_classes=10, task_ends=[1]),
            r"mixes two runs: its stream.json and summary.json differ",
        ),
        (lambda at: fake_run(fake_run(at)) and at, r"is a run folder and holds another one"),
        (
            lambda at: (fake_run(at) / "summary.json").unlink() or at,
            r"holds metrics.csv but no summary.json",
        ),
        (
            lambda at: broken(fake_run(at), "config.yaml", "parent: [[-1, -1]]"),
            r"cannot read .*config.yaml of a run \(parent is \[\[-1, -1\]\]: it should be a",
        ),
        (
            lambda at: broken(fake_run(at), "config.yaml", "parent: {run: x, sizes: [[3]]}"),
            r"parent.sizes in .*config.yaml are no pairs",
        ),
        (
            lambda at: (fake_run(at) / "config.yaml").unlink() or at,
            r"cannot read .*config.yaml .*No such file",
        ),
    ],
)
def test_bad_folders_are_refused_by_name(tmp_path: Path, make: Any, sentence: str) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=sentence):
        collect([path])


@pytest.mark.parametrize("key", sorted({**SUMMARY, **FINISHED}))
@pytest.mark.parametrize("wrong", [{"a": {"b": []}}, ["a", []], "\ud800"])
def test_a_summary_of_wrong_types_is_refused(tmp_path: Path, key: str, wrong: Any) -> None:
    name, kind = key.removesuffix("?"), {**SUMMARY, **FINISHED}[key]
    if kind in (str, (str, None)) and isinstance(wrong, str):
        return
    folder = fake_run(tmp_path)
    summary = json.loads((folder / "summary.json").read_text())
    broken(folder, "summary.json", json.dumps({**summary, name: wrong}))
    with pytest.raises(InputError, match=rf"cannot read .*summary.json of a run \({name}"):
        collect([folder])


def test_classes_beyond_those_of_the_summary_are_refused(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, class_names=["a"])
    with pytest.raises(InputError, match="has 10 classes, and names others"):
        collect([folder])


def test_domains_of_other_tasks_are_refused(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, domain_names=["a"])
    with pytest.raises(InputError, match="has 5 tasks, and names other domains"):
        collect([folder])


@pytest.mark.parametrize(
    ("metric", "scope"),
    [("prompt_usage", "x"), ("a", "class:x"), ("a", "task:")],
)
def test_scopes_without_a_number_are_refused(tmp_path: Path, metric: str, scope: str) -> None:
    folder = fake_run(tmp_path)
    with (folder / "metrics.csv").open("a") as file:
        file.write(f"1,{metric},{scope},0.5\n")
    with pytest.raises(InputError, match=r"cannot read line \d+ of .*metrics.csv"):
        collect([folder])


def test_a_stream_without_kinds_of_classes_is_no_stream_with_null(tmp_path: Path) -> None:
    folder = fake_run(tmp_path)
    stream = json.loads((folder / "stream.json").read_text())
    broken(folder, "stream.json", json.dumps({**stream, "blurry_classes": None}))
    with pytest.raises(InputError, match="blurry_classes is None: it should be a list"):
        collect([folder])

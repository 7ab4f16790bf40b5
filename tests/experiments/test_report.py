"""The report, from run folders made up by a seeded generator."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from cl_prompts.errors import InputError
from cl_prompts.experiments.report import write_report
from cl_prompts.experiments.results import (
    COLUMNS,
    class_matrix,
    collect,
    percent,
    results_table,
    sections,
    task_matrix,
    usage_matrix,
)

LEVEL = {"mvp": 0.82, "linear_probe": 0.76, "fine_tuning": 0.55, "joint": 0.93}


def fake_stream(rng: np.random.Generator, n_tasks: int, n_classes: int) -> dict[str, Any]:
    """Half of the classes in one task each; the others in a home task, with a tenth of their
    samples elsewhere."""
    order = rng.permutation(n_classes)
    homes = rng.integers(n_tasks, size=n_classes)
    per_class = 1500 // n_classes + 5
    counts = np.zeros((n_tasks, n_classes), int)
    kinds: dict[str, list[list[int]]] = {
        k: [[] for _ in range(n_tasks)] for k in ("disjoint", "blurry")
    }
    for place, c in enumerate(order.tolist()):
        blurry = place >= n_classes // 2
        kinds["blurry" if blurry else "disjoint"][homes[c]].append(c)
        moved = max(1, per_class // 10) if blurry else 0
        counts[homes[c], c] = per_class - moved
        np.add.at(counts[:, c], rng.integers(n_tasks, size=moved), 1)
    return {
        "n_tasks": n_tasks,
        "n_classes": n_classes,
        "disjoint_classes": kinds["disjoint"],
        "blurry_classes": kinds["blurry"],
        "dropped_classes": [],
        "counts": counts.tolist(),
    }


def fake_metrics(
    rng: np.random.Generator, stream: dict[str, Any], strategy: str, period: int = 100
) -> list[list[Any]]:
    """Rows of metrics.csv: each class learnt in its first task, slowly forgotten after that."""
    counts = np.array(stream["counts"])
    ends = counts.sum(1).cumsum()
    first = counts.astype(bool).argmax(0)
    points = sorted({*range(period, int(ends[-1]), period), int(ends[-1])})
    drop = 0.3 if strategy == "fine_tuning" else 0.05

    def accuracy(samples: int, task: int) -> dict[int, float]:
        starts = np.concatenate([[0], ends])[first]
        known = [c for c in range(len(first)) if first[c] <= task and starts[c] < samples]
        age = (samples - starts) / ends[-1]
        values = (
            LEVEL[strategy] * (1 - np.exp(-8 * age))
            - drop * age
            + 0.04 * rng.standard_normal(len(first))
        )
        return {c: float(np.clip(values[c], 0, 1)) for c in known}

    rows: list[list[Any]] = []
    for x in () if strategy == "joint" else points:
        values = accuracy(x, int(np.searchsorted(ends, x)))
        rows.append([x, "anytime_accuracy", "seen", float(np.mean(list(values.values())))])
        rows += [[x, "anytime_accuracy", f"class:{c}", v] for c, v in values.items()]
    for t, x in enumerate(ends.tolist()):
        if strategy == "joint" and t < len(ends) - 1:
            continue
        values = accuracy(x, t)
        if values:
            rows.append([x, "task_end_accuracy", "seen", float(np.mean(list(values.values())))])
        for i in range(t + 1):
            if members := [v for c, v in values.items() if first[c] == i]:
                rows.append([x, "task_end_accuracy", f"task:{i}", float(np.mean(members))])
        if strategy == "mvp":
            rows += [[x, "prompt_usage", f"prompt:{p}", x * (p + 1) // 11] for p in range(10)]
    return rows


def fake_run(
    root: Path,
    strategy: str = "mvp",
    seed: int = 1,
    *,
    recipe: str = "digits",
    n_tasks: int = 5,
    n_classes: int = 10,
    status: str = "finished",
    time: str = "20250101-120000",
    settings: dict[str, Any] | None = None,
    **summary: Any,
) -> Path:
    """Write one run folder below ``root`` and return it; ``summary`` overrides entries of
    summary.json."""
    folder = root / recipe / strategy / f"{seed}-{time}"
    folder.mkdir(parents=True)
    stream = fake_stream(np.random.default_rng(seed), n_tasks, n_classes)
    rows = fake_metrics(np.random.default_rng([seed, len(strategy)]), stream, strategy)
    anytime = [row[3] for row in rows if row[1:3] == ["anytime_accuracy", "seen"]]
    ends = [row[3] for row in rows if row[1:3] == ["task_end_accuracy", "seen"]]
    streamed = strategy != "joint"
    results = {
        "a_auc": float(np.mean(anytime)) if streamed else None,
        "a_last": ends[-1],
        "a_avg": float(np.mean(ends)),
        "forgetting": 0.012 * len(strategy) if streamed else None,
        "task_forgetting": 0.01 * len(strategy) if streamed else None,
    }
    content: dict[str, Any] = {
        "status": status,
        "error": "the loss is NaN at sample 640" if status == "failed" else None,
        "recipe": recipe,
        "strategy": strategy,
        "dataset": recipe,
        "scenario": "si_blurry",
        "backbone": "tiny",
        "seed": seed,
        "stream_seed": seed,
        "n_tasks": n_tasks,
        "n_classes": n_classes,
        "class_names": [f"class {c}" for c in range(n_classes)],
        "samples": int(np.sum(stream["counts"])),
        "whole_stream": not streamed,
        "task_ends": np.sum(stream["counts"], axis=1).cumsum().tolist()[0 if streamed else -1 :],
        "results": results,
        "trainable_parameters": 1000 * len(strategy) ** 3,
        "seconds": 12.5 + seed,
        "images_per_second": 321.0,
        "peak_memory_mb": 456.0,
        "forward_passes": {"train": 2.0 if strategy == "mvp" else 1.0, "evaluation": 0.95},
        "command": f"cl-prompts run {recipe} seeds=1,2,3",
    }
    (folder / "summary.json").write_text(json.dumps(content | summary))
    (folder / "stream.json").write_text(json.dumps(stream))
    config = {
        "recipe": recipe,
        "seed": seed,
        "strategy": strategy,
        "options": {"lr": 0.005, **(settings or {})},
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    environment = {
        "python": "3.11.2",
        "torch": "2.9.0",
        "device": "cpu",
        "git_revision": None,
        "time": time,
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["samples_seen", "metric", "scope", "value"], *rows])
    return folder


@pytest.fixture(scope="module")
def runs_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four strategies, two seeds, one run that failed."""
    root = tmp_path_factory.mktemp("runs")
    for strategy in LEVEL:
        for seed in (1, 2):
            fake_run(root, strategy, seed)
    fake_run(root, "mvp", 3, status="failed")
    return root


@pytest.fixture(scope="module")
def page(runs_folder: Path) -> str:
    return write_report([runs_folder]).read_text()


def test_percent_states_the_sample_standard_deviation() -> None:
    assert percent([0.5, 0.7]) == "60.0 ± 14.1"  # n-1: 14.14; n would give 10.0
    assert percent([0.5]) == "50.0 ± -"
    assert percent([]) == "-"


def test_collect_takes_run_folders_and_parents_once_and_in_order(runs_folder: Path) -> None:
    runs = collect([runs_folder, runs_folder / "digits" / "mvp"])
    assert [(r.summary["strategy"], r.summary["seed"]) for r in runs] == [
        *((s, seed) for s in ("fine_tuning", "joint", "linear_probe") for seed in (1, 2)),
        *(("mvp", seed) for seed in (1, 2, 3)),
    ]
    assert len(collect([runs[0].folder])) == 1
    assert not runs[-1].finished
    assert not runs[-1].metrics


def test_table_has_means_over_finished_runs_and_marks_the_best_of_those_that_compete(
    runs_folder: Path,
) -> None:
    runs = collect([runs_folder])
    rows = {row.cells[0]: row for row in results_table(runs)}
    mvp = [
        r.summary["results"]["a_auc"] for r in runs if r.summary["strategy"] == "mvp" and r.finished
    ]
    assert all(len(row.cells) == 2 + len(COLUMNS) for row in rows.values())
    assert rows["mvp"].cells[1:3] == ("2", f"{50 * sum(mvp):.1f} ± {100 * np.std(mvp, ddof=1):.1f}")
    assert rows["mvp"].cells[4:] == ("3.6 ± 0.0", "3.0 ± 0.0", "27,000", "321", "2.00", "0.95")
    assert rows["mvp"].best == {2, 3, 4, 5}
    assert rows["joint"].cells[2] == "-"
    assert not rows["joint"].best  # the highest A_last of all, but not a competitor
    assert not rows["linear_probe"].best


def test_nothing_is_marked_best_without_a_rival_on_the_same_seeds(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp")
    fake_run(tmp_path, "joint")
    fake_run(tmp_path, "linear_probe", 2)
    assert not any(row.best for row in results_table(collect([tmp_path])))


def test_undefined_results_are_left_out_of_a_mean(tmp_path: Path) -> None:
    fake_run(
        tmp_path,
        seed=1,
        results={"a_auc": 0.5, "a_last": 0.6, "forgetting": float("nan"), "task_forgetting": None},
    )
    fake_run(
        tmp_path,
        seed=2,
        results={"a_auc": 0.5, "a_last": 0.6, "forgetting": 0.1, "task_forgetting": None},
    )
    (row,) = results_table(collect([tmp_path]))
    assert row.cells[4:6] == ("10.0 ± -", "-")


def test_of_two_runs_of_one_seed_the_newer_counts(tmp_path: Path) -> None:
    old = fake_run(tmp_path, time="20250101-000000", results={"a_auc": 0.1})
    fake_run(tmp_path, time="20250102-000000", results={"a_auc": 0.9})
    (row,) = results_table(collect([tmp_path]))
    assert row.cells[1:3] == ("1", "90.0 ± -")
    text = write_report([tmp_path]).read_text()
    listed = next(line for line in text.split("<tr>") if old.name in line)
    assert "replaced by a newer run" in listed


def test_runs_that_differ_in_a_setting_are_not_averaged(tmp_path: Path) -> None:
    fake_run(tmp_path, seed=1)
    fake_run(tmp_path, seed=2, settings={"lr": 0.1})
    names = [row.cells[:2] for row in results_table(collect([tmp_path]))]
    assert names == [("mvp (options.lr=0.005)", "1"), ("mvp (options.lr=0.1)", "1")]


def test_each_experiment_is_a_section(tmp_path: Path) -> None:
    fake_run(tmp_path, "joint")
    fake_run(tmp_path, "joint", seed=2, n_tasks=3)
    fake_run(tmp_path, "joint", recipe="letters", n_classes=12)
    titles = [section.title for section in sections(collect([tmp_path]))]
    assert titles == [
        "digits: digits, si_blurry, tiny, 5 tasks, 10 classes",
        "digits: digits, si_blurry, tiny, 3 tasks, 10 classes",
        "letters",
    ]
    text = write_report([tmp_path]).read_text()
    assert [title for title in titles if f">{title}</h2>" in text] == titles


def test_matrices_read_back_what_was_written(runs_folder: Path) -> None:
    run = next(r for r in collect([runs_folder]) if r.summary["strategy"] == "mvp")
    counts = np.array(run.stream["counts"])
    ends, first = counts.sum(1).cumsum(), counts.astype(bool).argmax(0)
    (_, classes), tasks = class_matrix(run), task_matrix(run)
    points = [x for x, _ in run.metrics["anytime_accuracy"]["seen"]]
    for c in range(10):
        start = ends[first[c] - 1] if first[c] else 0
        assert (~np.isnan(classes[c])).tolist() == [x > start for x in points]
    assert tasks.shape == (5, 5)
    assert np.isnan(tasks[np.tril_indices(5, -1)]).all()
    assert run.metrics["task_end_accuracy"]["task:0"][1] == (ends[1], tasks[0, 1])
    totals = [[x * (p + 1) // 11 for p in range(10)] for x in ends]
    assert np.array_equal(usage_matrix(run).cumsum(0), totals)


def test_a_task_without_samples_keeps_the_accuracies_and_adds_no_usage(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, n_tasks=4, task_ends=[0, 100, 100, 200])
    lines = [
        "samples_seen,metric,scope,value",
        "100,task_end_accuracy,task:1,0.5",
        "200,task_end_accuracy,task:1,0.25",
    ]
    lines += [
        "200,task_end_accuracy,task:3,0.75",
        "100,prompt_usage,prompt:0,7",
        "200,prompt_usage,prompt:0,9",
    ]
    (folder / "metrics.csv").write_text("\n".join(lines))
    (run,) = collect([folder])
    nan = np.nan
    expected = [[nan] * 4, [nan, 0.5, 0.5, 0.25], [nan] * 4, [nan, nan, nan, 0.75]]
    assert np.array_equal(task_matrix(run), expected, equal_nan=True)
    assert usage_matrix(run).tolist() == [[0], [7], [0], [2]]


def test_page_is_self_contained(runs_folder: Path, page: str) -> None:
    assert not re.search(r"<script|<link|@import|url\(", page)
    sources = re.findall(r'src="([^"]{0,30})', page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert set(re.findall(r'href="([^"]*)"', page)) == {"#runs"}
    pngs = sorted((runs_folder / "report_files").glob("*.png"))
    assert len(pngs) == len(sources)
    assert all(png.read_bytes().startswith(b"\x89PNG") for png in pngs)
    assert [p.name for p in pngs if "usage" in p.name] == [
        "digits-mvp-seed-1-usage.png",
        "digits-mvp-seed-2-usage.png",
    ]


def test_page_says_what_was_run_and_how_to_repeat_it(page: str) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.replace("<br>", " ")))
    assert "9 runs, 8 of them finished" in text
    assert (
        "fine_tuning, joint, linear_probe, mvp. Data set digits, scenario si_blurry: 1,550 images"
        " of 10 classes" in text
    )
    assert "Seeds: 1, 2." in text
    assert "cl-prompts run digits seeds=1,2,3" in text
    assert "Environment of 8 finished runs" in text
    assert "failed: the loss is NaN at sample 640" in text
    assert "Seeds differ in where tasks end" in text
    assert "lr: 0.005" in text
    assert (
        page.count("<details open>") == 4
    )  # the first stream, and the first seed of each strategy with heat maps


def test_page_says_when_seeds_differ_between_strategies(tmp_path: Path) -> None:
    fake_run(tmp_path, "mvp", 1)
    fake_run(tmp_path, "linear_probe", 2)
    assert "not run on the same seeds" in write_report([tmp_path]).read_text()


def test_page_without_a_finished_run_lists_what_there_is(tmp_path: Path) -> None:
    folder = fake_run(tmp_path, status="running")
    (folder / "metrics.csv").write_text("samples_seen,metr")  # half written
    assert "No run is finished yet" in write_report([tmp_path]).read_text()


def test_report_goes_where_it_is_told_and_replaces_the_older_one(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    assert write_report([run]) == run / "report.html"
    assert (
        write_report([run, fake_run(tmp_path / "runs", "joint", 2)]) == run.parent / "report.html"
    )
    stale = tmp_path / "page_files" / "old.png"
    stale.parent.mkdir()
    stale.touch()
    assert write_report([run], tmp_path / "page.html") == tmp_path / "page.html"
    assert not stale.exists()
    assert write_report([run], tmp_path / "new" / "place").parent == tmp_path / "new" / "place"


def test_names_cannot_break_the_page_or_a_picture(tmp_path: Path) -> None:
    names = [r"$\frac{$", "<b>", "_hidden", *"defghij"]
    fake_run(tmp_path, class_names=names, backbone="<script>alert(1)</script>")
    assert "<script" not in write_report([tmp_path]).read_text()


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
            r"cannot read .*summary.json .*no mapping",
        ),
        (
            lambda at: broken(fake_run(at), "summary.json", "{}"),
            r"is not the summary of a run: it lacks status, strategy",
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
            lambda at: (fake_run(at) / "config.yaml").unlink() or at,
            r"cannot read .*config.yaml .*No such file",
        ),
    ],
)
def test_bad_folders_are_refused_by_name(tmp_path: Path, make: Any, sentence: str) -> None:
    path = make(tmp_path)
    with pytest.raises(InputError, match=sentence):
        write_report([path])
    assert not list(tmp_path.rglob("report*"))


def test_bad_places_to_write_are_refused(tmp_path: Path) -> None:
    run = fake_run(tmp_path / "runs", "joint")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"cannot write the report to .*file"):
        write_report([run], tmp_path / "file")
    with pytest.raises(InputError, match="no run folder was named"):
        write_report([])

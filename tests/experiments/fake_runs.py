"""Run folders made up by a seeded generator."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from cl_prompts.experiments.recipes.values import flat
from cl_prompts.experiments.run_folder.files import SUMS_FILE, sums
from cl_prompts.experiments.run_folder.identity import NOT_IDENTITY

LEVEL = {"mvp": 0.82, "linear_probe": 0.76, "fine_tuning": 0.55, "joint": 0.93}


def fake_stream(rng: np.random.Generator, n_tasks: int, n_classes: int) -> dict[str, Any]:
    """Half of the classes in one task each; the others in a home task, with a tenth of their
    samples elsewhere."""
    order = rng.permutation(n_classes)
    homes = rng.integers(n_tasks, size=n_classes)
    per_class = 1500 // n_classes + 5
    counts = np.zeros((n_tasks, n_classes), int)
    kinds: dict[str, list[list[int]]] = {"disjoint": [], "blurry": []}
    for classes_by_task in kinds.values():
        classes_by_task += [[] for _ in range(n_tasks)]
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
        "sizes": counts.sum(axis=1).tolist(),
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


def fake_config(
    recipe: str, strategy: str, seed: int, n_tasks: int, options: dict[str, Any]
) -> dict[str, Any]:
    return {
        "recipe": recipe,
        "strategy": strategy,
        "seed": seed,
        "stream_seed": seed,
        "device": "auto",
        "num_workers": 0,
        "dataset": {"name": recipe, "root": None, "augment": True},
        "scenario": {"name": "si_blurry", "n_tasks": n_tasks, "blurry_percent": 10},
        "backbone": {"name": "tiny", "weights": "default", "precision": "fp32"},
        "evaluation": {"every": 100, "points": "default", "batch_size": 128},
        "options": options,
    }


def fake_identity(config: dict[str, Any]) -> dict[str, Any]:
    part = {"images": 60, "labels": "a", "names": "n", "bytes": 9, "sizes": "s", "contents": "c"}
    return {
        "numbers": 1,
        "package": "5" * 64,
        "settings": {key: value for key, value in flat(config) if key not in NOT_IDENTITY},
        "files": {},
        "code": {},
        "data": {"classes": config["dataset"]["name"], "training": part, "test": part},
        "stream": hashlib.sha256(b"%d" % config["stream_seed"]).hexdigest(),
        "backbone": hashlib.sha256(config["backbone"]["name"].encode()).hexdigest(),
    }


def seal(folder: Path) -> None:
    (folder / SUMS_FILE).write_text(sums(folder, {}))


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
    changes: dict[str, Any] | None = None,
    environment: dict[str, Any] | None = None,
    identity: dict[str, Any] | None = None,
    name: str | None = None,
    **summary: Any,
) -> Path:
    """Write one run folder below ``root``: ``settings`` are options of the strategy, ``changes``
    other settings by dotted name, ``summary`` entries of summary.json."""
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
        "a_avg": float(np.mean(ends)) if streamed else None,
        "a_last_by_task": ends[-1] - 0.01,
        "a_avg_by_task": float(np.mean(ends)) - 0.01 if streamed else None,
        "f_last": 0.013 * len(strategy) if streamed else None,
        "forgetting_anytime": 0.014 * len(strategy) if streamed else None,
        "task_forgetting_l2p": 0.015 * len(strategy) if streamed else None,
        "forgetting": 0.012 * len(strategy) if streamed else None,
        "task_forgetting": 0.01 * len(strategy) if streamed else None,
        "bwt": -0.011 * len(strategy) if streamed else None,
    }
    content: dict[str, Any] = {
        "status": status,
        "error": "the loss is NaN at sample 640" if status == "failed" else None,
        "recipe": recipe,
        "strategy": name or strategy,
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
        "memory": {"samples": 0, "numbers": 1290},
        "seconds": 12.5 + seed,
        "images_per_second": 321.0,
        "peak_memory_mb": 456.0,
        "peak_device_memory_mb": None,
        "forward_passes": {"train": 2.0 if strategy == "mvp" else 1.0, "evaluation": 0.95},
        "command": f"cl-prompts run {recipe} seeds=1,2,3",
    }
    (folder / "summary.json").write_text(json.dumps(content | summary))
    (folder / "stream.json").write_text(json.dumps(stream))
    config = fake_config(recipe, strategy, seed, n_tasks, {"lr": 0.005, **(settings or {})})
    for key, value in (changes or {}).items():
        section, _, setting = key.rpartition(".")
        (config[section] if section else config)[setting] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    machine = {
        "cl_prompts": "1.0",
        "python": "3.11.2",
        "torch": "2.9.0",
        "device": "cpu",
        "git_revision": None,
        "time": f"{time[:4]}-{time[4:6]}-{time[6:8]} {time[9:]}",
    }
    (folder / "environment.json").write_text(json.dumps(machine | (environment or {})))
    (folder / "identity.json").write_text(json.dumps(fake_identity(config) | (identity or {})))
    with (folder / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["samples_seen", "metric", "scope", "value"], *rows])
    (folder / "model").mkdir()
    for file_name in ("model.json", "model.safetensors"):
        (folder / "model" / file_name).write_text("{}")
    seal(folder)
    return folder


def fake_multi_label_run(root: Path, strategy: str = "mvp", seed: int = 1) -> Path:
    """Write a run of several labels per image, measured at task ends."""
    results = {"map_avg": 0.6, "map_last": 0.5, "cf1": 0.4, "of1": 0.45, "task_forgetting": 0.1}
    folder = fake_run(root, strategy, seed, multi_label=True, scenario="mlcil", results=results)
    stream = json.loads((folder / "stream.json").read_text())
    (folder / "stream.json").write_text(json.dumps(stream | {"anchors": None}))
    lines = (folder / "metrics.csv").read_text().splitlines(keepends=True)
    kept = [line.replace("task_end_accuracy", "task_end_map") for line in lines]
    (folder / "metrics.csv").write_text("".join(line for line in kept if "anytime" not in line))
    seal(folder)
    return folder

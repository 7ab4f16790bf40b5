"""What is built of settings made up by hypothesis, and what holds for all of it."""

from __future__ import annotations

import gc
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings

from cl_prompts.errors import InputError, RunError
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.runner.building import Builder, Parts, split_of
from cl_prompts.scenarios import BaseSplit
from tests.experiments.written import Written, written


def build(case: Written, folder: Path, builder: Builder) -> Parts:
    """Build one run of what was written.

    Raises:
        InputError: it is refused.
    """
    file = folder / "fuzz.yaml"
    file.write_text(yaml.safe_dump(case.recipe), encoding="utf-8")
    runs = plan(str(file), case.overrides)
    return builder.build(runs[-1])


def check(parts: Parts) -> None:
    """Assert what holds for every run that is built."""
    told, split, strategy = parts.settings, parts.split, parts.strategy
    assert Settings.from_yaml(told.to_yaml(), trust_code=True) == told
    check_split(split, parts.data.train.targets)
    assert split_of(told, parts.data) == split
    n_classes = len(parts.data.classes)
    assert split.counts.shape == (split.n_tasks, n_classes)
    stream = list(parts.benchmark.train_stream)
    assert [len(task.dataset) for task in stream] == [len(rows) for rows in split.tasks]
    backbone = strategy.model.backbone
    images = torch.stack([parts.data.test[row][0] for row in range(2)])
    assert images.shape == (2, 3, backbone.image_size, backbone.image_size)
    strategy.model.eval()
    with torch.no_grad():
        scores = strategy.model(images)
    assert scores.shape == (2, n_classes)
    assert not scores.isnan().any()
    assert backbone.trainable == any(p.requires_grad for p in backbone.parameters())


def check_split(split: BaseSplit, targets: Any) -> None:
    """Assert what holds for every stream."""
    labels = np.asarray(targets)
    rows = np.concatenate(split.tasks)
    assert all(len(np.unique(task)) == len(task) for task in split.tasks)
    assert rows.min() >= 0
    assert rows.max() < len(labels)
    assert type(split).from_json(split.to_json()) == split
    if labels.ndim == 2:
        return
    assert len(np.unique(rows)) == len(rows), "no sample comes twice"
    if split.parameters.get("leftover", "keep") == "keep":
        assert len(rows) == len(labels), "every sample comes"
    for task, counts in zip(split.tasks, split.counts, strict=True):
        assert np.bincount(labels[task], minlength=len(counts)).tolist() == counts.tolist()
    homes = getattr(split, "disjoint_classes", ())
    for number, classes in enumerate(homes):
        away = np.delete(split.counts, number, axis=0)
        assert not away[:, list(classes)].any(), "a disjoint class has one task"


def train(parts: Parts) -> None:
    """Train on the first task; a run may fail there, with a sentence."""
    first = next(iter(parts.benchmark.train_stream))
    whole = [first] if parts.strategy.whole_stream else first
    try:
        parts.strategy.train(whole, eval_streams=[], num_workers=0)
    except (RunError, InputError):  # its first batch may be what cannot be learned from
        return
    assert bool(parts.strategy.samples_seen) == bool(len(first.dataset))


# -------------------------------------------------------------------------------------- many cases


def run(
    count: int, number: int, folder: Path, *, training: int = 10
) -> tuple[Counter[str], list[str]]:
    """Build as many cases.

    Args:
        count: of cases.
        number: the seed.
        folder: for recipes.
        training: every so many built runs are trained for a task.

    Returns:
        What was counted, and the traceback of each fault with what was written.
    """
    counts = Counter(dict.fromkeys(("cases", "built", "refused", "trained", "faults"), 0))
    problems: list[str] = []
    builder = Builder(quick=True)  # one, for its backbones

    def case(given_: Written) -> None:
        counts["cases"] += 1
        try:
            parts = build(given_, folder, builder)
            counts["built"] += 1
            check(parts)
            if counts["built"] % training == 0:
                train(parts)
                counts["trained"] += 1
        except InputError as error:
            counts["refused"] += 1
            if "\n" in str(error) or len(str(error)) > 2000:  # it may list 40 names
                counts["faults"] += 1
                problems.append(f"{given_}: no sentence: {error}")
        except Exception:
            counts["faults"] += 1
            problems.append(f"{given_}: {traceback.format_exc()}")
        if counts["cases"] % 50 == 0:
            gc.collect()  # strategies and plugins refer to each other

    many = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    seed(number)(many(given(written())(case)))()
    return counts, problems

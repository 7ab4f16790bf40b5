"""Streams of several seeds as validate shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cl_prompts
from cl_prompts.experiments.cli.streams_shown import streams_text
from cl_prompts.experiments.recipes.settings import Settings, plan
from cl_prompts.experiments.runner.building import Builder
from cl_prompts.scenarios.split import Split


@cl_prompts.scenario
def fixed(y: Any) -> Split:
    """One task, whatever the seed."""
    return Split.of("fixed", np.asarray(y), [np.arange(len(y))])


@cl_prompts.scenario
def shuffled(y: Any, seed: int = 0) -> Split:
    """One task, whose order alone depends on the seed."""
    rows = np.random.default_rng(seed).permutation(len(y))
    return Split.of("shuffled", np.asarray(y), [rows])


def text_of(*settings: str) -> tuple[str, list[Settings]]:
    runs = plan("digits", ["strategy=ncm,er", *settings])
    builder = Builder()
    return streams_text(runs, builder, builder.data(runs[-1])), runs


@pytest.mark.parametrize("seeds", ["2", "1-3"])
def test_few_streams_are_tables(seeds: str) -> None:
    text, runs = text_of(f"seed={seeds}", "n_tasks=3")
    distinct = {run.stream_seed for run in runs}
    assert text.count("Si-Blurry split: 3 tasks") == len(distinct)
    assert text.count("\n all ") == len(distinct)
    if len(distinct) > 1:
        assert [f"seed {seed}: Si-Blurry" in text for seed in (1, 2, 3)] == [True] * 3


def test_many_streams_are_lines() -> None:
    text, _ = text_of("seed=1-7", "n_tasks=3")
    title, *lines = text.splitlines()
    assert title.startswith("Si-Blurry split: 3 tasks")
    assert "seed" not in title
    assert [line.partition(":")[0] for line in lines] == [f"seed {seed}" for seed in range(1, 8)]
    for line in lines:
        samples, classes = line.partition("samples ")[2].split(", classes ")
        assert sum(map(int, samples.split())) <= 1442
        assert len(samples.split()) == len(classes.split()) == 3


def test_one_stream_of_all_seeds_is_shown_once() -> None:
    text, _ = text_of("seed=1-9", "stream_seed=4")
    assert text.count("Si-Blurry split") == 1
    text, _ = text_of("seed=1,2", f"scenario={__name__}:fixed")
    assert text.count("fixed split") == 1
    assert text.splitlines()[-1] == "the same for each of seeds 1, 2"
    text, _ = text_of("seed=1,2", f"scenario={__name__}:shuffled")
    assert text.count("shuffled split") == 2

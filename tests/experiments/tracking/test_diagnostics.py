"""Insight into a run, written at task ends and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cl_prompts.experiments.results.history import usage_entropy, usage_matrix
from cl_prompts.experiments.run_folder.folder import KEYS_FILE
from cl_prompts.experiments.run_folder.runs import collect
from tests.experiments.commands import QUICK, run


def test_a_run_writes_what_is_inside(mvp_run: Path) -> None:
    (found,) = collect([mvp_run])
    ends = found.summary["task_ends"]
    usage = usage_matrix(found)
    entropy = found.metrics["prompt_usage_entropy"]["task"]
    assert [samples for samples, _ in entropy] == ends
    assert [value for _, value in entropy] == pytest.approx(usage_entropy(usage).tolist())
    counts = np.array(found.stream["counts"]).cumsum(axis=0)
    held = dict.fromkeys(ends, 0.0)
    for scope, points in found.metrics["buffer"].items():
        for samples, value in points:
            held[samples] += value
            assert value <= counts[ends.index(samples), int(scope.removeprefix("class:"))]
    assert list(held.values()) == [30, 30, 30]
    similarity = np.load(mvp_run / KEYS_FILE)["similarity"]
    assert similarity.shape == (10, 10)
    assert np.allclose(np.diag(similarity), 1, atol=1e-5)


def test_a_run_without_prompts_or_buffer_has_none_of_it(tmp_path: Path) -> None:
    code, (folder,) = run(tmp_path, "digits", "strategy=ncm", "seed=1", *QUICK)
    assert code == 0
    (found,) = collect([folder])
    assert not {"prompt_usage", "prompt_usage_entropy", "buffer"} & set(found.metrics)
    assert usage_matrix(found).size == 0
    assert not (folder / KEYS_FILE).exists()
    assert found.summary["trainable_parameters"] == 0
    assert found.summary["forward_passes"]["train"] < 1

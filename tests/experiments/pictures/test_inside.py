"""Looking inside a run: the figures, what is written at task ends, and what the report reads
back."""

from __future__ import annotations

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from cl_prompts.errors import InputError
from cl_prompts.experiments.cli import main
from cl_prompts.experiments.inside import KEYS_FILE, key_similarity_of, memory_matrix, usage_entropy
from cl_prompts.experiments.pictures_inside import key_figure, memory_figure, usage_figure
from cl_prompts.experiments.results import collect, usage_matrix
from cl_prompts.models.inspection import key_similarity, prompt_usage
from cl_prompts.models.prompted import PromptedViT
from cl_prompts.prompts.components import AttentionWeights
from cl_prompts.prompts.selectors import NearestKeys
from cl_prompts.prompts.task_selectors import BatchwisePrompt, FrequencyPenalty, TaskSlots
from tests.experiments.test_pictures import drawn, texts
from tests.toys import tiny_vit

NAN = float("nan")


# ---------------------------------------------------------------------- the model


def chooser(selector: Any) -> Any:
    return SimpleNamespace(selector=selector)


@pytest.mark.parametrize(
    "wrap", [lambda k: k, TaskSlots, FrequencyPenalty, lambda k: BatchwisePrompt(TaskSlots(k), 5)]
)
def test_usage_and_keys_are_found_below_any_wrapper(wrap: Any) -> None:
    keys = NearestKeys(5, 8, k=2)
    selector = wrap(keys)
    for _ in range(3):
        selector.observe(selector(torch.randn(4, 8)))
    usage = prompt_usage(chooser(selector))
    assert usage is not None
    assert usage.sum() == 3 * 4 * 2
    assert torch.equal(usage, keys.count)
    usage += 1
    assert not torch.equal(usage, keys.count)  # a copy
    similarity = key_similarity(chooser(selector))
    expected = torch.nn.functional.cosine_similarity(keys.key[:, None], keys.key[None], dim=-1)
    torch.testing.assert_close(similarity, expected.detach())


def test_mixed_prompts_are_used_by_their_absolute_weights() -> None:
    selector = AttentionWeights(2, 6, 8, n_tasks=3)
    selection = selector(torch.randn(5, 8))
    selector.observe(selection)
    usage = prompt_usage(chooser(selector))
    assert usage is not None
    assert selection.weights is not None
    torch.testing.assert_close(usage[:2], selection.weights.detach().abs().mean(0).sum(0))
    assert usage[2:].tolist() == [0, 0, 0, 0]  # of later tasks
    similarity = key_similarity(chooser(selector))
    assert similarity is not None
    torch.testing.assert_close(similarity, torch.eye(2), atol=1e-5, rtol=0)  # they begin orthogonal
    assert "count" in selector.state_dict()


def test_a_model_that_does_not_choose_has_neither() -> None:
    model = PromptedViT(tiny_vit(), 3)
    assert prompt_usage(model) is None
    assert key_similarity(model) is None


# ---------------------------------------------------------------------- numbers


def test_entropy_in_bits() -> None:
    found = usage_entropy([[8, 8, 8, 8], [7, 0, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0]])
    assert found[:3].tolist() == [2, 0, 1]
    assert np.isnan(found[3])


@given(arrays(float, (3, 5), elements=st.floats(0, 1e6)))
def test_entropy_lies_between_zero_and_equal_use(counts: np.ndarray) -> None:
    found = usage_entropy(counts)
    assert np.array_equal(np.isnan(found), counts.sum(1) == 0)
    known = found[~np.isnan(found)]
    assert ((known >= 0) & (known <= np.log2(5) + 1e-9)).all()


def test_a_damaged_key_file_is_told(tmp_path: Path) -> None:
    assert key_similarity_of(tmp_path) is None
    (tmp_path / KEYS_FILE).write_text("no archive")
    with pytest.raises(
        InputError, match=r"cannot read .*keys\.npz of a run: repeat the run or delete that file"
    ):
        key_similarity_of(tmp_path)


# ---------------------------------------------------------------------- figures


def test_usage_shows_shares_of_each_task_and_entropy() -> None:
    figure = usage_figure([[3, 1], [0, 0], [5, 5]], [0.81, NAN, 1.0])
    left, bar, right = figure.axes[0], figure.axes[2], figure.axes[1]
    shown = np.ma.filled(left.images[0].get_array().astype(float), np.nan)
    assert np.allclose(shown, [[75, 25], [NAN, NAN], [50, 50]], equal_nan=True)
    assert texts(left) == ["75", "25", "50", "50"]
    assert texts(right) == ["0.81", "1.00"]
    assert [b.get_width() for b in right.patches] == pytest.approx([0.81, 1.0])
    assert right.lines[0].get_xdata()[0] == 1.0  # two prompts used alike
    assert bar.get_ylabel() == "share of uses (%)"
    drawn(figure)


def test_keys_are_shown_as_they_are() -> None:
    figure = key_figure([[1.0, -0.7], [-0.7, 1.0]])
    axes = figure.axes[0]
    assert np.array_equal(axes.images[0].get_array(), [[1, -0.7], [-0.7, 1]])
    assert axes.images[0].get_clim() == (-1, 1)
    assert texts(axes) == ["1.0", "-0.7", "-0.7", "1.0"]
    assert texts(key_figure(np.eye(2)).axes[0]) == ["1.0", "1.0"]
    drawn(figure)


def test_memory_stacks_classes_in_the_order_in_which_they_were_held() -> None:
    figure = memory_figure([[0, 10, 0], [4, 6, 0], [5, 5, 0]], list("abc"))
    axes = figure.axes[0]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "a",
        "b",
    ]  # as stacked: first held below
    reaches = [set(layer.get_paths()[0].vertices[:, 1]) for layer in axes.collections]
    assert reaches == [{0, 10, 6, 5}, {10, 6, 5}]  # the lower layer, then what stands on it
    assert sorted(texts(axes)) == sorted(["10", "6", "5", "4", "5"])
    assert axes.get_ylabel() == "samples held"
    drawn(figure)


@pytest.mark.parametrize(("n_tasks", "n_prompts"), [(1, 1), (10, 10), (40, 100)])
def test_usage_and_keys_of_any_size(n_tasks: int, n_prompts: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (n_tasks, n_prompts))
    assert drawn(usage_figure(counts, usage_entropy(counts))).shape[1] <= 9.6 * 144 + 1
    drawn(usage_figure(np.zeros((n_tasks, n_prompts)), np.full(n_tasks, NAN)))
    drawn(key_figure(np.ones((n_prompts, n_prompts))))


@pytest.mark.parametrize(("n_tasks", "n_classes"), [(1, 1), (10, 20), (30, 200)])
def test_memory_of_any_size(n_tasks: int, n_classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (n_tasks, n_classes))
    figure = memory_figure(counts, [r"$\frac{$"] * n_classes, unit="labels")
    assert len(figure.legends) == (n_classes <= 20)
    drawn(figure)
    drawn(memory_figure(np.zeros((n_tasks, n_classes))))


# ---------------------------------------------------------------------- runs

QUICK = ["seed=1", "classes=4", "n_tasks=3", "every=200", "online_iter=1"]


def rows(folder: Path) -> list[list[str]]:
    with (folder / "metrics.csv").open() as file:
        return list(csv.reader(file))


def test_a_run_writes_what_is_inside_and_the_report_shows_it(tmp_path: Path) -> None:
    assert (
        main(
            ["run", "digits_mvp_r", *QUICK, "mvp.buffer_size=30", "--out", str(tmp_path), "--quiet"]
        )
        == 0
    )
    (run,) = collect([tmp_path])
    ends = run.summary["task_ends"]
    usage, entropy = usage_matrix(run), run.metrics["prompt_usage_entropy"]["task"]
    assert [n for n, _ in entropy] == ends
    assert [v for _, v in entropy] == pytest.approx(usage_entropy(usage).tolist())
    held = memory_matrix(run)
    assert held.shape == (3, 4)
    assert held.sum(1).tolist() == [30, 30, 30]
    counts = np.array(run.stream["counts"]).cumsum(0)
    assert (held <= counts).all()
    similarity = key_similarity_of(run.folder)
    assert similarity is not None
    assert similarity.shape == (10, 10)
    assert np.allclose(np.diag(similarity), 1, atol=1e-5)
    board = EventAccumulator(str(run.folder)).Reload()
    assert [e.step for e in board.Scalars("prompt_usage_entropy")] == ends
    assert {"keys"} <= set(board.Tags()["images"])
    assert {"prompt_usage", "memory"} <= set(board.Tags()["histograms"] + board.Tags()["tensors"])
    trained = [e.value for e in board.Scalars("cost/trainable_parameters")]
    assert trained == [run.summary["trainable_parameters"]] * 3
    passes = np.array([e.value for e in board.Scalars("cost/forward_passes_train")])
    sizes = np.diff([0, *ends])
    assert (passes * sizes).sum() / sizes.sum() == pytest.approx(
        run.summary["forward_passes"]["train"], rel=1e-4
    )
    assert all(e.value > 0.5 for e in board.Scalars("cost/forward_passes_evaluation"))
    files = {f.name for f in tmp_path.rglob("*.png")}
    assert {f"digits-mvp-r-mvp-seed-1-{what}.png" for what in ("usage", "keys", "memory")} <= files


def test_a_run_without_prompts_or_memory_has_none_of_it(tmp_path: Path) -> None:
    assert main(["run", "digits_ncm", *QUICK, "--out", str(tmp_path), "--quiet"]) == 0
    (run,) = collect([tmp_path])
    assert not {"prompt_usage", "prompt_usage_entropy", "memory"} & set(run.metrics)
    assert memory_matrix(run).size == usage_matrix(run).size == 0
    assert not (run.folder / KEYS_FILE).exists()
    assert run.summary["trainable_parameters"] == 0
    assert run.summary["forward_passes"]["train"] < 1
    board = EventAccumulator(str(run.folder)).Reload()
    assert [e.value for e in board.Scalars("cost/trainable_parameters")] == [0, 0, 0]
    assert not {
        f.name for f in tmp_path.rglob("*.png") if f.stem.endswith(("usage", "keys", "memory"))
    }

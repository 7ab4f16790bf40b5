"""Multi-label scores: published numbers, scikit-learn's average precision, invariances, and
per-task forgetting of mAP."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score
from torch import Tensor

from cl_prompts.errors import RunError
from cl_prompts.metrics import Curve, Evaluation, a_avg, a_last, average_precision, f1_scores
from cl_prompts.metrics.continual import backward_transfer, task_accuracy, task_forgetting
from cl_prompts.metrics.multi_label import (
    THRESHOLDS,
    fixed_average_precision,
    images_with,
    multi_label_results,
)
from tests import GOLDEN_FILES

GOLDEN = json.loads((GOLDEN_FILES / "mlcil_metrics.json").read_text())
NAN = float("nan")


def scores_and_labels(
    seed: int, n: int = 40, classes: int = 6, *, levels: int = 7
) -> tuple[Tensor, Tensor]:
    """Integer logits (many ties) around 0 and sparse labels."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(-levels, levels + 1, (n, classes), generator=generator).float()
    return logits, (torch.rand(n, classes, generator=generator) < 0.3).to(torch.uint8)


def accuracies(rows: list[list[float]]) -> Curve:
    """A curve whose task i is class i, with accuracy rows[i][t] after task t, NaN before i."""
    columns = [
        torch.tensor([row[t] if t >= i else NAN for i, row in enumerate(rows)])
        for t in range(len(rows[0]))
    ]
    ends = [Evaluation(t, float(c.nanmean()), c.double()) for t, c in enumerate(columns)]
    return Curve(task_ends=ends)


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: str(case["name"]))
def test_published_scores(case: dict[str, Any]) -> None:
    logits = torch.tensor(case["logits"])
    targets = torch.tensor(case["targets"])
    seen = torch.zeros(case["num_classes"], dtype=torch.bool)
    seen[case["seen_classes"]] = True
    found = multi_label_results(logits, targets, seen, thresholds=(case["threshold"],))
    wanted = case["expected"]
    ap = torch.tensor(
        [NAN if a is None else a for a in wanted["AP_per_class"]], dtype=torch.float64
    )
    assert torch.allclose(100 * found.ap, ap, atol=0.01, rtol=0, equal_nan=True)
    f1 = {name.removesuffix("_80"): value for name, value in found.scores.items()}
    pairs = {
        "mAP": found.mean_ap,
        "CF1": f1["cf1"],
        "OF1": f1["of1"],
        "OP": f1["op"],
        "OR": f1["or"],
    }
    assert {k: 100 * v for k, v in pairs.items()} == pytest.approx(
        {k: wanted[k] for k in pairs}, abs=0.01
    )
    other = case["alternative"]["CF1_from_mean_precision_recall"] or 0.0
    assert 100 * f1["cf1_harmonic"] == pytest.approx(other, abs=0.01)
    assert 100 * f1["cp"] == pytest.approx(np.mean(wanted["CP_per_seen_class"]), abs=0.01)
    assert 100 * f1["cr"] == pytest.approx(np.mean(wanted["CR_per_seen_class"]), abs=0.01)


def test_published_accuracy_matrix() -> None:
    matrix = GOLDEN["cil"]["accuracy_matrix_rows_task_cols_time"]
    for wanted in GOLDEN["cil"]["expected"]:
        n = wanted["after_task"]
        curve = accuracies([row[:n] for row in matrix[:n]])
        assert a_last(curve) == pytest.approx(wanted["average_accuracy"], abs=1e-4)
        tasks = [[i] for i in range(n)]
        if n > 1:
            assert task_forgetting(curve, tasks) == pytest.approx(wanted["forgetting"], abs=1e-4)
            bwt = backward_transfer(curve)
            assert bwt == pytest.approx(wanted["backward_transfer"], abs=1e-4)
    sessions = GOLDEN["session_average"]
    for n, average in enumerate(sessions["average_mAP_after_each_task"], 1):
        ends = [
            Evaluation(t, m, torch.empty(0))
            for t, m in enumerate(sessions["mAP_after_each_task"][:n])
        ]
        assert a_avg(Curve(task_ends=ends)) == pytest.approx(average, abs=1e-5)


@given(st.integers(0, 10_000), st.integers(0, 3), st.sampled_from([0.0, 0.3]))
def test_ap_equals_scikit_learn_with_ties_and_ignored_pairs(
    seed: int, levels: int, share: float
) -> None:
    logits, targets = scores_and_labels(seed, n=15, levels=levels)
    ignored = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed)) < share
    found = average_precision(logits, targets, ignored)
    for c in range(logits.shape[1]):
        labels = targets[~ignored[:, c], c]
        scores = logits[~ignored[:, c], c]
        wanted = average_precision_score(labels, scores) if labels.any() else NAN
        assert found[c].item() == pytest.approx(wanted, rel=1e-12, nan_ok=True)


@given(st.integers(0, 10_000), st.sampled_from([0.2, 0.5, 0.8]))
def test_f1_equals_scikit_learn(seed: int, threshold: float) -> None:
    logits, targets = scores_and_labels(seed)
    predicted = logits > math.log(threshold / (1 - threshold))
    found = f1_scores(logits, targets, threshold=threshold)
    for name, average in (("cf1", "macro"), ("of1", "micro")):
        assert found[name] == pytest.approx(
            f1_score(targets, predicted, average=average, zero_division=0)
        )


def test_threshold_is_strict_and_cf1_is_a_mean_of_f1() -> None:
    exactly = torch.tensor([[0.0], [math.log(4)]], dtype=torch.float64)
    assert f1_scores(exactly[:1], torch.ones(1, 1), threshold=0.5)["or"] == 0
    assert f1_scores(exactly[1:], torch.ones(1, 1))["or"] == 0
    assert f1_scores(exactly[1:] + 1e-6, torch.ones(1, 1))["or"] == 1
    # Class 0: precision 1, recall 1/2; class 1: precision 1/2, recall 1: both F1 2/3, harmonic mean
    # of the means 3/4.
    logits = torch.tensor([[9.0, 9.0], [-9.0, 9.0]])
    assert THRESHOLDS == (0.8, 0.5)  # the published one first
    found = f1_scores(logits, torch.tensor([[1, 1], [1, 0]]))
    assert found["cf1"] == pytest.approx(2 / 3)
    assert found["cf1_harmonic"] == pytest.approx(3 / 4)


@pytest.mark.slow
@given(st.integers(0, 10_000))
def test_ignored_pairs_count_in_no_f1(seed: int) -> None:
    logits, targets = scores_and_labels(seed)
    ignored = torch.rand(logits.shape, generator=torch.Generator().manual_seed(seed + 1)) < 0.3
    changed = torch.where(ignored, 9 - logits, logits), torch.where(ignored, 1 - targets, targets)
    assert f1_scores(*changed, ignored=ignored) == f1_scores(logits, targets, ignored=ignored)


def test_one_pass_with_columns_and_rows_selected_equals_an_evaluation_per_task() -> None:
    logits, targets = scores_and_labels(3, n=80)
    tasks = [[4, 1], [0, 5], [2, 3]]
    for t in range(3):
        classes = sorted(c for task in tasks[: t + 1] for c in task)
        seen = torch.zeros(6, dtype=torch.bool)
        seen[classes] = True
        masked = logits.where(seen, torch.tensor(NAN))  # what is not seen is not looked at
        one_pass = multi_label_results(masked, targets, seen, rows=images_with(targets, seen))
        rows = [i for i in range(80) if targets[i, classes].any()]
        separate = logits[rows][:, classes], targets[rows][:, classes]
        assert torch.equal(one_pass.ap[classes], average_precision(*separate))
        assert one_pass.ap[~seen].isnan().all()
        assert one_pass.mean_ap == pytest.approx(float(average_precision(*separate).nanmean()))
        for threshold in (0.8, 0.5):
            for name, value in f1_scores(*separate, threshold=threshold).items():
                assert one_pass.scores[f"{name}_{100 * threshold:g}"] == value
        assert one_pass.scores["cf1"] == one_pass.scores["cf1_80"]


@pytest.mark.parametrize("fixed", [False, True])
def test_per_task_forgetting_of_map_is_the_literal_formula(fixed: bool) -> None:
    targets = scores_and_labels(0, n=60)[1]
    tasks = [[4, 1], [0, 5], [2, 3]]
    n = 3
    ends: list[Evaluation] = []
    m = np.full((n, n), NAN)
    for t in range(n):
        logits = scores_and_labels(t + 10, n=60)[0]  # a learner that changes at random
        seen = torch.zeros(6, dtype=torch.bool)
        seen[[c for task in tasks[: t + 1] for c in task]] = True
        rows = images_with(targets, seen)
        ap = (
            fixed_average_precision(logits, targets, tasks[: t + 1])
            if fixed
            else multi_label_results(logits, targets, seen, rows=rows).ap
        )
        ends.append(Evaluation(t, float(ap.nanmean()), ap))
        for i in range(t + 1):
            own = (
                images_with(targets, [c for task in tasks[: i + 1] for c in task])
                if fixed
                else rows
            )
            aps = [average_precision_score(targets[own, c], logits[own, c]) for c in tasks[i]]
            m[i, t] = np.mean(aps)
    curve = Curve(task_ends=ends)
    assert np.allclose(task_accuracy(curve, tasks), m, equal_nan=True)
    lost = [max(m[i, t] for t in range(i, n - 1)) - m[i, n - 1] for i in range(n - 1)]
    assert task_forgetting(curve, tasks) == pytest.approx(np.mean(lost))


def test_nothing_seen_no_image_and_no_positive() -> None:
    logits, targets = scores_and_labels(1)
    nothing = multi_label_results(logits, targets, torch.zeros(6, dtype=torch.bool))
    assert math.isnan(nothing.mean_ap)
    assert math.isnan(nothing.scores["cf1_80"])
    empty = multi_label_results(
        logits, targets, torch.ones(6, dtype=torch.bool), rows=torch.zeros(40).bool()
    )
    assert empty.ap.isnan().all()
    assert math.isnan(empty.scores["of1_50"])
    assert average_precision(logits, torch.zeros_like(targets)).isnan().all()
    assert f1_scores(logits, torch.zeros_like(targets))["of1"] == 0


def test_scores_that_are_not_finite_are_refused() -> None:
    logits, targets = scores_and_labels(0)
    logits[3, 2] = NAN
    with pytest.raises(RunError, match="scores in column 2 are not finite: training has diverged"):
        average_precision(logits, targets)


def test_scores_that_are_no_logits_have_a_threshold_of_their_own() -> None:
    scores, targets = scores_and_labels(0)
    seen = torch.ones(scores.shape[1], dtype=torch.bool)
    found = multi_label_results(scores, targets, seen, score_threshold=0.3)
    predicted = scores > 0.3
    true = targets > 0
    right = int((predicted & true).sum())
    assert found.scores["op"] == pytest.approx(right / int(predicted.sum()))
    assert found.scores["or"] == pytest.approx(right / int(true.sum()))
    assert all(v != v for name, v in found.scores.items() if name.endswith(("_80", "_50")))
    assert found.mean_ap == multi_label_results(scores, targets, seen).mean_ap

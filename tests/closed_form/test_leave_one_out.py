"""Leave-one-out scores are those of the classifier that never saw the sample, and choose well."""

import warnings
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from cl_prompts.closed_form import (
    ContrastiveProjection,
    MultiLabelRidge,
    NearestClassMean,
    PooledRidge,
    PrototypeClassifier,
    RandomExpansion,
    RanPAC,
    RidgeLDA,
    StreamingLDA,
)
from cl_prompts.closed_form.leave_one_out import least
from cl_prompts.errors import InputError

DIM, CLASSES = 9, 5
COUNTS = st.lists(st.sampled_from([1, 2, 3, 8]), min_size=3, max_size=3)

SCORED: dict[str, Callable[[], Any]] = {
    "ncm": lambda: NearestClassMean(DIM, CLASSES),
    "euclidean": lambda: NearestClassMean(DIM, CLASSES, metric="euclidean"),
    "share": lambda: StreamingLDA(DIM, CLASSES, shrinkage=0.2),
    "added": lambda: StreamingLDA(DIM, CLASSES, shrinkage=0.5, shrinkage_form="added"),
    "fourier": lambda: StreamingLDA(
        DIM,
        CLASSES,
        shrinkage=0.3,
        floor=0.1,
        expansion=RandomExpansion(DIM, 20, "fourier", gamma=0.02),
    ),
    "chosen lda": lambda: StreamingLDA(DIM, CLASSES, shrinkage="leave_one_out"),
    "chosen ridge": lambda: PooledRidge(DIM, CLASSES, ridge="leave_one_out"),
    "pool": lambda: RidgeLDA(DIM, CLASSES),
    "ranpac": lambda: RanPAC(DIM, CLASSES, projection=30, ridge=2.0),
    "multi": lambda: MultiLabelRidge(DIM, CLASSES, ridge=2.0),
}


def samples(counts: list[int], seed: int) -> tuple[Tensor, Tensor]:
    """Class 4 has no sample."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    centres = torch.randn(CLASSES, DIM, generator=generator)
    return 3 + centres[y] + torch.randn(len(y), DIM, generator=generator), y


@pytest.mark.filterwarnings("ignore:leave-one-out scores chose")
@pytest.mark.parametrize("name", SCORED)
@settings(max_examples=5)
@given(
    counts=st.lists(st.sampled_from([1, 2, 3, 8]), min_size=3, max_size=3), seed=st.integers(0, 99)
)
def test_it_equals_forgetting_the_sample(name: str, counts: list[int], seed: int) -> None:
    # More samples than dimensions, so that both sides are well conditioned.
    counts = [*counts, 20]
    x, y = samples(counts, seed)
    whole = SCORED[name]()
    whole.update(x, y)
    found = whole.leave_one_out(x, y)
    for i, label in enumerate(y.tolist()):
        if counts[label] == 1:
            assert name == "multi" or bool(found[i, :4].isnan().all())
            continue
        part = SCORED[name]()
        part.update(x[i : i + 1], y[i : i + 1])
        rest = deepcopy(whole)
        rest.subtract(part)
        # At the strength of the whole solution.
        rest.chosen, rest.keeps_choice = getattr(whole, "chosen", None), True
        seen, want = rest.seen, rest.scores(x[i : i + 1])[0]
        torch.testing.assert_close(found[i, seen], want[seen], atol=1e-9, rtol=1e-9)


def test_several_labels_an_image() -> None:
    x, _ = samples([6, 6, 6, 6], 1)
    y = (torch.rand(24, CLASSES, generator=torch.Generator().manual_seed(2)) < 0.4).long()
    whole, rest = (MultiLabelRidge(DIM, CLASSES, ridge=2.0) for _ in range(2))
    whole.update(x, y)
    rest.update(x[1:], y[1:])
    torch.testing.assert_close(
        whole.leave_one_out(x, y)[0], rest.scores(x[:1])[0], atol=1e-9, rtol=1e-9
    )


def test_the_ridge_of_several_labels_follows_the_data() -> None:
    generator = torch.Generator().manual_seed(0)
    # A fifth of 200 features carries labels: without a strong ridge the noise wins.
    weights = torch.randn(40, CLASSES, generator=generator)
    x = torch.randn(700, 200, generator=generator)
    y = (x[:, :40] @ weights + 12 * torch.randn(700, CLASSES, generator=generator) > 5).long()
    errors = {}
    for ridge in (1e-3, "leave_one_out"):
        head = MultiLabelRidge(200, CLASSES, ridge=ridge)
        head.update(x[:250], y[:250])
        errors[ridge] = float((head.logits(x[250:]) - y[250:]).square().mean())
    assert errors["leave_one_out"] < 0.7 * errors[1e-3]


def test_a_classifier_without_it_says_so() -> None:
    head: PrototypeClassifier = ContrastiveProjection(DIM, CLASSES, projection=9)
    with pytest.raises(InputError, match="ContrastiveProjection has no leave-one-out scores"):
        head.leave_one_out(torch.zeros(1, DIM), torch.zeros(1, dtype=torch.long))


def test_it_takes_one_factorisation(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = samples([30, 30, 30, 30], 3)
    pool = RidgeLDA(DIM, CLASSES)
    pool.update(x, y)
    pool.solution()
    calls: list[int] = []
    factorise = torch.linalg.cholesky_ex
    monkeypatch.setattr(
        torch.linalg,
        "cholesky_ex",
        lambda *given, **more: calls.append(1) or factorise(*given, **more),
    )
    pool.leave_one_out(x, y)
    assert len(calls) == 1
    pool.update(x[:1], y[:1])
    pool.solution()
    assert len(calls) <= 9  # a solution, where evidence takes nine
    chosen = pool.chosen
    pool.keeps_choice = True
    pool.update(x[:1], y[:1])
    calls.clear()
    pool.solution()
    assert (len(calls), pool.chosen) == (1, chosen)


@given(vertex=st.floats(-3.4, 3.4), height=st.floats(-3, 3))
def test_the_search_finds_the_vertex_of_a_parabola(vertex: float, height: float) -> None:
    found = least(lambda x: (x - vertex) ** 2 + height, start=0.0)
    assert abs(found - vertex) < 1e-6


def test_the_search_warns_at_its_end_and_stops_on_a_plateau() -> None:
    with pytest.warns(UserWarning, match="an end of what is tried"):
        assert least(lambda x: -(10**x), start=0.0) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert least(lambda x: max(x, -1.0), start=0.0) == -1
        assert least(lambda x: float("nan") if x < 0 else x + 1, start=0.0) == 0


def test_evidence_is_too_strong_where_classes_overlap_and_labels_are_wrong() -> None:
    generator = torch.Generator().manual_seed(0)
    dim, k, n = 384, 60, 1800
    y = torch.arange(3000) % k
    # Classes differ equally in all directions; the noise is small in some.
    noise = torch.logspace(0, -1, dim) * torch.randn(3000, dim, generator=generator)
    x = 0.05 * torch.randn(k, dim, generator=generator)[y] + noise
    labels = y.where(torch.rand(3000, generator=generator) > 0.15, (y + 7) % k)
    right = []
    for head in (PooledRidge(dim, k), PooledRidge(dim, k, ridge="leave_one_out"), RidgeLDA(dim, k)):
        head.update(x[:n], labels[:n])
        right.append(float((head.logits(x[n:]).argmax(dim=1) == y[n:]).double().mean()))
    evidence, ridge, pool = right
    assert evidence < 0.2
    assert min(ridge, pool) > 0.5


def test_the_pool_is_calibrated_and_no_worse_than_its_parts() -> None:
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(4000) % 8
    x = torch.randn(8, 40, generator=generator)[y] + 2 * torch.randn(4000, 40, generator=generator)
    nll = {}
    for name, head in {
        "pool": RidgeLDA(40, 8),
        "ridge": PooledRidge(40, 8, ridge="leave_one_out"),
        "lda": StreamingLDA(40, 8, shrinkage="leave_one_out"),
    }.items():
        head.update(x[:400], y[:400])
        logits = head.logits(x[400:])
        if name != "pool":
            assert head.chosen is not None
            logits = logits / head.chosen.temperatures[0]
        nll[name] = float(torch.nn.functional.cross_entropy(logits, y[400:]))
    assert nll["pool"] < min(nll["ridge"], nll["lda"]) + 0.01
    assert nll["pool"] < 0.9  # log 8 = 2.08

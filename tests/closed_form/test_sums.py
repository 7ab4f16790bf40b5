"""Sums over samples do not depend on division and order; removal is exact."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from cl_prompts.closed_form.anacp import ContrastiveProjection
from cl_prompts.closed_form.discriminant import RegularisedDiscriminant
from cl_prompts.closed_form.held_out import HeldOutSample
from cl_prompts.closed_form.kernel_lda import KernelLDA
from cl_prompts.closed_form.multi_label_ridge import MultiLabelRidge
from cl_prompts.closed_form.ranpac import RanPAC
from cl_prompts.closed_form.sums import combine, order_matters, sums_of, zero
from cl_prompts.errors import InputError
from tests.models.classifier_data import CLASSES, DIM, SUMS, data

X, Y = data(120)
AT = torch.randn(20, DIM, generator=torch.Generator().manual_seed(1))


def on(name: str, rows: Any, batches: int = 2) -> Any:
    made = SUMS[name]()
    for part in np.array_split(np.asarray(rows, dtype=int), batches):
        if len(part):
            made.update(X[part], Y[part])
    return made


def assert_same(found: Any, want: Any) -> None:
    """Equal sums within 1e-9 relative to the largest entry, and scores within 1e-7."""
    for ours, theirs in zip(found.modules(), want.modules(), strict=True):
        for name, (tensor, _) in sums_of(ours).items():
            other = getattr(theirs, name)
            scale = float(other.abs().max()) or 1.0
            assert float((tensor - other).abs().max()) <= 1e-9 * scale, name
    if bool(want.count.any()):
        scores, same = (one.logits(AT).double() for one in (found, want))
        seen = torch.isfinite(same)
        assert torch.equal(seen, torch.isfinite(scores))
        gap = (scores - same)[seen].abs().max()
        assert float(gap) <= 1e-7 * max(1.0, float(same[seen].abs().max()))


@pytest.mark.parametrize("name", SUMS)
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), parts=st.integers(1, 9), batches=st.integers(1, 9))
def test_parts_in_any_order_and_batches_are_one_run(
    name: str, seed: int, parts: int, batches: int
) -> None:
    draws = np.random.default_rng(seed)
    pieces = np.array_split(draws.permutation(len(X)), np.sort(draws.integers(0, 120, parts - 1)))
    whole = SUMS[name]()
    for rows in pieces:
        whole.add(on(name, rows, batches))
    want = on(name, range(len(X)), 1)
    assert_same(whole, want)
    if name == "multi_label_ridge":
        assert torch.equal(whole.met, want.met)


@pytest.mark.parametrize("name", SUMS)
@settings(max_examples=4)
@given(seed=st.integers(0, 10**6), n=st.integers(1, 60))
def test_what_is_subtracted_was_never_there(name: str, seed: int, n: int) -> None:
    order = np.random.default_rng(seed).permutation(len(X))
    whole = on(name, order)
    whole.subtract(on(name, order[:n]))
    assert_same(whole, on(name, order[n:]))


def test_one_remaining_sample_of_a_class_has_no_scatter() -> None:
    rows = np.flatnonzero(Y == 2)
    whole = on("fecam", rows[:5])
    whole.subtract(on("fecam", rows[1:5]))
    assert not whole.classes.scatters.any()  # not even the last bits


@pytest.mark.parametrize("name", SUMS)
def test_a_class_is_subtracted_and_all_is_zeroed(name: str) -> None:
    of_class = (Y == 2).numpy()
    whole = on(name, range(len(X)))
    whole.subtract(on(name, np.flatnonzero(of_class)))
    assert_same(whole, on(name, np.flatnonzero(~of_class)))
    if name != "multi_label_ridge":  # it scores classes that were met 0
        assert not whole.seen[2]
    zero(whole)
    assert_same(whole, SUMS[name]())
    whole.update(X, Y)
    assert_same(whole, on(name, range(len(X))))


def test_a_union_of_reservoirs_is_a_uniform_sample() -> None:
    counts = np.zeros(30)
    for seed in range(150):
        held = [HeldOutSample(6, 1, 1, seed=2 * seed + i) for i in range(2)]
        for sample, rows in zip(held, (range(9), range(9, 30)), strict=True):
            sample.add(torch.tensor(rows)[:, None].double(), torch.zeros(len(rows), 1))
        combine(held[0], held[1], 1)
        rows = held[0].samples[0][:, 0].int().tolist()
        assert len(set(rows)) == len(rows) == 6
        counts[rows] += 1
    assert chisquare(counts).pvalue > 1e-3
    assert held[0].reservoir.offered == 30


@pytest.mark.parametrize(
    ("made", "other", "sign", "says"),
    [
        (SUMS["ranpac"], lambda: RanPAC(DIM, CLASSES, projection=40, seed=1), 1, "matrix differs"),
        (*[lambda: KernelLDA(DIM, CLASSES, width=20, form="released")] * 2, 1, "moving means"),
        (
            *[lambda: ContrastiveProjection(DIM, CLASSES, projection=9, form="released")] * 2,
            1,
            "by batches",
        ),
        (*[lambda: MultiLabelRidge(DIM, CLASSES, pseudo=0.7)] * 2, 1, "pseudo-labels"),
        (*[lambda: MultiLabelRidge(DIM, CLASSES, weights="sqrt")] * 2, 1, "weights of samples"),
        (*[lambda: RanPAC(DIM, CLASSES, projection=9, held_out=3)] * 2, -1, "held-out sample"),
        (*[lambda: RegularisedDiscriminant(DIM, CLASSES)] * 2, -1, "sketches"),
    ],
)
def test_what_is_no_sum_is_refused(made: Any, other: Any, sign: int, says: str) -> None:
    with pytest.raises(InputError, match=says):
        combine(made(), other(), sign)


def test_order_matters_to_samples_and_to_a_width_of_the_first_batch() -> None:
    assert [name for name in SUMS if order_matters(SUMS[name]())] == []
    says = [
        order_matters(made)
        for made in (
            RanPAC(DIM, CLASSES, projection=9, held_out=3),
            KernelLDA(DIM, CLASSES, width=20),
            MultiLabelRidge(DIM, CLASSES, pseudo=0.7),
        )
    ]
    assert says == [
        "a setting is chosen on a random sample of it",
        "the kernel width comes from the first batch",
        "pseudo-labels depend on the order of the stream",
    ]

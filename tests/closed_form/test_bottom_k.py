"""A bottom-k sample is uniform, does not depend on order, merges and forgets."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from cl_prompts.closed_form.bottom_k import BottomK, keys_of

K, DIM, CLASSES = 12, 6, 3
X = torch.randn(60, DIM, generator=torch.Generator().manual_seed(0))
Y = torch.eye(CLASSES)[torch.arange(60) % CLASSES]


def on(rows: list[int], size: int = K) -> BottomK:
    sample = BottomK(size, DIM, CLASSES)
    sample.add(X[rows], Y[rows])
    return sample


def same(one: BottomK, other: BottomK) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


@settings(max_examples=20)
@given(order=st.permutations(range(60)), cut=st.integers(0, 60))
def test_order_and_division_do_not_matter(order: list[int], cut: int) -> None:
    streamed, merged = on(order[:cut]), on(order[:cut])
    streamed.add(X[order[cut:]], Y[order[cut:]])
    merged.combined(on(order[cut:]), 1)
    assert same(streamed, on(list(range(60))))
    assert same(merged, streamed)
    features, targets = merged.samples
    rows = [int((row == X).all(dim=1).nonzero()) for row in features]
    assert len(set(rows)) == K
    assert torch.equal(targets, Y[rows])


@settings(max_examples=20)
@given(gone=st.sets(st.integers(0, 59), max_size=K))
def test_subtracted_rows_leave_without_a_trace(gone: set[int]) -> None:
    kept = [row for row in range(60) if row not in gone]
    sample, before = on(list(range(60))), on(list(range(60)))
    sample.combined(on(sorted(gone)), -1)
    # Rows of larger hash do not return.
    inside = before.samples[0]
    left = [row for row in kept if bool((inside == X[row]).all(dim=1).any())]
    assert len(sample) == len(left)
    assert not bool(sample.features[len(sample) :].any())
    # A sample that never overflowed equals one without these rows.
    whole = on(list(range(60)), size=60)
    whole.combined(on(sorted(gone), size=60), -1)
    assert same(whole, on(kept, size=60))
    # What comes later is sampled at the same rate.
    sample.add(X[sorted(gone)], Y[sorted(gone)])
    assert same(sample, before)


def test_features_that_are_computed_again_leave_too() -> None:
    sample, part = on(list(range(60)), size=60), BottomK(60, DIM, CLASSES)
    part.add(X[:5] * (1 + 1e-3 * torch.randn(5, DIM)), Y[:5])
    sample.combined(part, -1)
    assert len(sample) == 55


def test_the_sample_is_uniform() -> None:
    counts = torch.zeros(3)
    for seed in range(200):
        x = torch.randn(90, DIM, generator=torch.Generator().manual_seed(seed))
        # Three clusters of very different length
        x = x + 10.0 ** torch.arange(3)[torch.arange(90) % 3, None]
        sample = BottomK(9, DIM, CLASSES)
        sample.add(x, Y[torch.arange(90) % 3])
        counts += sample.samples[1].sum(dim=0)
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_hashes_differ_between_samples_and_survive_rounding() -> None:
    x = torch.randn(5000, DIM, generator=torch.Generator().manual_seed(1))
    keys = keys_of(x)
    assert len(keys.unique()) > 4990
    noise = 1e-7 * torch.randn(5000, DIM, generator=torch.Generator().manual_seed(2))
    assert (keys_of(x + noise * x) == keys).double().mean() > 0.999

"""Domain-incremental splits: the protocol's invariants, missing classes, and what is refused."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.scenarios import domain_incremental_split

NAMES = ["art", "clip", "photo", "sketch"]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[int], list[Any], dict[str, Any]]:
    """Labels, domains by name or number, and settings."""
    n_classes = draw(st.integers(1, 5))
    n = draw(st.integers(max(2, n_classes), 40))
    labels = [
        *range(n_classes),
        *draw(
            st.lists(st.integers(0, n_classes - 1), min_size=n - n_classes, max_size=n - n_classes)
        ),
    ]
    n_domains = draw(st.integers(2, min(4, n)))
    names: list[Any] = draw(st.sampled_from([NAMES, [20, 100, 300, 4000]]))[:n_domains]
    rest = n - n_domains
    repeated = draw(st.lists(st.sampled_from(names), min_size=rest, max_size=rest))
    domains = draw(st.permutations([*names, *repeated]))
    order = st.one_of(
        st.none(), st.just("shuffled"), st.integers(0, 99), st.permutations(list(map(str, names)))
    )
    given_ = {
        "domain_order": draw(order),
        "announced": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**63)),
    }
    return labels, domains, given_


@pytest.mark.slow
@given(cases())
@settings(max_examples=50)
def test_invariants(case: tuple[list[int], list[Any], dict[str, Any]]) -> None:
    labels, domains, parameters = case
    before = torch.get_rng_state()
    split = domain_incremental_split(labels, domains=domains, **parameters)
    assert torch.equal(torch.get_rng_state(), before)
    # Every sample comes once, in the task of its domain.
    assert (split.occurrences == 1).all()
    for name, rows in zip(split.domains, split, strict=True):
        assert {str(domains[row]) for row in rows} == {name}
        assert np.array_equal(rows, np.sort(rows)) or not parameters["announced"]
        counted = np.bincount(np.array(labels)[rows], minlength=split.n_classes)
        assert np.array_equal(split.counts[split.domains.index(name)], counted)
    names = [str(name) for name in sorted(set(domains))]
    assert sorted(split.domains) == sorted(names)
    order = parameters["domain_order"]
    if isinstance(order, list):
        assert list(split.domains) == order
    if order is None:
        assert list(split.domains) == names
    assert split.boundaries is parameters["announced"]
    # The same seed gives the same split.
    assert split == domain_incremental_split(labels, domains=domains, **parameters)

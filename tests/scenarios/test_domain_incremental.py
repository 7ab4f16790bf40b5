"""Domain-incremental splits: the protocol's invariants, missing classes, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.scenarios import DomainSplit, domain_incremental_split

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
        st.none(),
        st.just("shuffled"),
        st.integers(0, 99),
        st.permutations(range(n_domains)),
        st.permutations(list(map(str, names))),
    )
    given_ = {
        "domain_order": draw(order),
        "announced": draw(st.booleans()),
        "seed": draw(st.integers(0, 2**63)),
    }
    return labels, domains, given_


@pytest.mark.slow
@given(cases())
@settings(max_examples=150)
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
        assert list(split.domains) == [n if isinstance(n, str) else names[n] for n in order]
    if order is None:
        assert list(split.domains) == names
    assert split.boundaries is parameters["announced"]
    # The same seed gives the same split, and the text the same value.
    assert split == domain_incremental_split(labels, domains=domains, **parameters)
    assert DomainSplit.from_json(split.to_json()) == split


def test_samples_that_are_not_announced_come_in_an_order_of_the_seed() -> None:
    labels = np.arange(200) % 4
    domains = np.arange(200) // 100
    orders = [
        domain_incremental_split(labels, domains=domains, announced=False, seed=seed)
        for seed in (1, 1, 2)
    ]
    assert orders[0] == orders[1]
    assert orders[0].tasks[0].tolist() != orders[2].tasks[0].tolist()
    assert orders[0].ordered


def test_the_seed_shuffles_domains_where_asked_and_alone() -> None:
    labels = [0, 1] * 4
    domains = np.repeat(NAMES, 2)
    made = {
        domain_incremental_split(labels, domains=domains, domain_order="shuffled", seed=s).domains
        for s in range(20)
    }
    assert len(made) > 5
    assert len({domain_incremental_split(labels, domains=domains, seed=s) for s in range(5)}) == 1


def test_missing_classes_are_named_and_no_fault() -> None:
    labels = [0, 1, 2, 0, 3, 4, 5, 1]
    domains = ["art"] * 4 + ["photo"] * 4
    split = domain_incremental_split(labels, domains=domains)
    assert split.missing_classes() == {"art": (3, 4, 5), "photo": (0, 2)}
    assert split.describe().splitlines()[-3:] == [
        "domains: art, photo",
        "domain art has no training image of classes 3, 4, 5",
        "domain photo has no training image of classes 0, 2",
    ]


def test_a_number_that_is_another_domain_s_name_is_no_position() -> None:
    names = [str(number) for number in range(11)]
    positions = [0, 2, 1, *range(3, 11)]
    for order in (positions, np.array(positions)):
        with pytest.raises(InputError, match="2 may mean the domain called '2' or position 2"):
            domain_incremental_split([0] * 11, domains=names, domain_order=order)
    assert domain_incremental_split([0] * 11, domains=names, domain_order=names).domains[10] == "10"
    numbers = domain_incremental_split([0] * 11, domains=range(11), domain_order=range(11))
    assert list(numbers.domains) == names


def test_a_split_names_a_domain_for_each_task_once() -> None:
    split = domain_incremental_split([0, 1, 0, 1], domains=[0, 0, 1, 1])
    text = split.to_json().replace('"domains": ["0", "1"]', '"domains": ["0", "0"]')
    with pytest.raises(InputError, match="must name the domain of each of 2 tasks once"):
        DomainSplit.from_json(text)

"""Two streams in sequence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.errors import InputError
from cl_prompts.scenarios import MultiLabelSplit, class_incremental_split, si_blurry_split
from cl_prompts.scenarios.domain_incremental import DomainSplit, domain_incremental_split
from cl_prompts.scenarios.joined import joined_split


@given(st.integers(2, 5), st.integers(1, 3), st.integers(0, 4), st.integers(0, 99))
def test_each_sample_comes_as_in_its_own_stream(a: int, b: int, shared: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shared = min(shared, a, b)
    first_labels = rng.permutation(np.arange(4 * a) % a)
    later_labels = rng.permutation(np.arange(3 * b) % b)
    new = b - shared
    columns = [*rng.permutation(a)[:shared], *range(a, a + new)]
    first = si_blurry_split(first_labels, n_tasks=2, seed=seed)
    later = si_blurry_split(later_labels, n_tasks=1, seed=seed)
    targets = np.concatenate([first_labels, np.asarray(columns)[later_labels]])
    both = joined_split(first, later, targets, columns)
    assert both.n_tasks == 3
    assert both.n_classes == a + new
    assert [rows.tolist() for rows in both.tasks[:2]] == [rows.tolist() for rows in first.tasks]
    assert (both.tasks[2] - len(first_labels)).tolist() == later.tasks[0].tolist()
    assert (both.counts[:2, :a] == first.counts).all()
    assert (both.counts[2, columns] == later.counts[0]).all()
    assert both.ordered


def test_labels_that_are_hidden_in_one_stream_stay_hidden() -> None:
    first = MultiLabelSplit.of(
        "one", [[1, 1], [0, 1]], [[0], [1]], visible=np.eye(2, dtype=bool), boundaries=True
    )
    later = MultiLabelSplit.of("two", [[1, 0], [1, 1]], [[0, 1]], boundaries=True)
    targets = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [0, 1, 1]])
    both = joined_split(first, later, targets, columns=[1, 2])
    assert both.visible.tolist() == [
        [True, False, False],
        [False, True, False],
        [False, True, True],
    ]


def test_streams_that_announce_and_do_not_are_not_joined() -> None:
    labels = [0, 1, 0, 1]
    first = si_blurry_split(labels, n_tasks=2)
    later = class_incremental_split(labels, n_tasks=2)
    with pytest.raises(InputError, match=r"only one of the Si-Blurry .* announces task"):
        joined_split(first, later, labels * 2, [0, 1])


def test_domains_follow_domains_that_are_others() -> None:
    labels = [0, 1, 0, 1]
    domains = domain_incremental_split(labels, domains=["c", "c", "a", "a"])
    later = domain_incremental_split(labels, domains=["b"] * 4)
    both = joined_split(domains, later, labels * 2, [0, 1])
    assert isinstance(both, DomainSplit)
    assert both.domains == ("a", "c", "b")
    assert [rows.tolist() for rows in both] == [[2, 3], [0, 1], [4, 5, 6, 7]]
    with pytest.raises(InputError, match="domain 'b' was already learned"):
        joined_split(both, later, labels * 3, [0, 1])
    with pytest.raises(InputError, match="has domains: choose"):
        joined_split(domains, class_incremental_split(labels, n_tasks=1), labels * 2, [0, 1])

"""Sets of classes on shared arrays: Python's sets, without their memory."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl_prompts.scenarios.class_sets import ClassSet


@given(st.lists(st.integers(0, 5), max_size=20), st.integers(0, 6), st.integers(0, 6))
def test_it_is_the_set_of_its_bounds(values: list[int], low: int, high: int) -> None:
    array = np.array(values, dtype=np.int32)
    other = np.arange(len(values)) % 2
    found = ClassSet((array, low, high), (other, 1, 2))
    want = {c for c, value in enumerate(values) if low <= value < high and c % 2}
    assert found == want
    assert want == found
    assert (len(found), sorted(found), set(found)) == (len(want), sorted(want), want)
    assert [c in found for c in range(-2, 25)] == [c in want for c in range(-2, 25)]
    more = {1, 3, 40}
    for a, b in ((found, want), (more, want)):
        assert found | a == want | b | (a if a is more else set())
    assert found & more == want & more
    assert more - found == more - want
    assert (found <= more) == (want <= more)
    assert isinstance(found | more, set)
    assert pickle.loads(pickle.dumps(found)) == want


@pytest.mark.parametrize("item", ["1", 1.5, None, (1,)])
def test_what_is_no_class_is_not_in_it(item: object) -> None:
    assert item not in ClassSet((np.ones(3), 1, 2))
    assert np.int64(1) in ClassSet((np.ones(3), 1, 2))


def test_sets_share_one_array() -> None:
    first = np.arange(10_000)
    sets = [ClassSet((first, 0, index)) for index in range(1000)]
    assert len(sets[999]) == 999
    own = sum(sys.getsizeof(s) + sys.getsizeof(vars(s)) for s in sets)
    assert own < 1_000_000

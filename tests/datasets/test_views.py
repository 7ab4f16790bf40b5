"""Keys of views: the innermost one counts, and seeds tell them apart."""

from __future__ import annotations

import numpy as np
import pytest

from cl_prompts.datasets.views import current_key, view_seed, viewing


def test_the_innermost_key_counts_and_is_restored() -> None:
    assert current_key() is None
    with viewing(100, 1):
        assert current_key() == (100, 1)
        with viewing():
            assert current_key() == ()
        assert current_key() == (100, 1)
    assert current_key() is None


def test_the_key_is_restored_after_an_error() -> None:
    with pytest.raises(IndexError), viewing(1):
        [][0]
    assert current_key() is None


def test_seeds_tell_keys_apart() -> None:
    keys = [(), (0,), (0, 0), (1,), (1, 0), (0, 1), (2**32,), (2**64, 1), (11,), (1, 1), (-1,)]
    seeds = [view_seed(seed, key) for key in keys for seed in (0, 1, 10)]
    # Seed 1 with key (0,) is not seed 10 with key (), and so on.
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert view_seed(0, (np.int64(7),)) == view_seed(0, (7,))  # type: ignore[arg-type]
    assert view_seed(3, (1, 2)) == 6733988780980349654  # of every platform and release
